"""The sample content."""

from __future__ import annotations

import wave
from io import BytesIO

import pytest

from sbm.model.content_rules import typographic_characters
from sbm.model.cron import Cron
from sbm.sandbox.demo.sample_content import (
    COHORT,
    LANGUAGES,
    SETS,
    SampleSet,
    sample_subscriber,
    sound,
    sound_name,
    unregistered_subscriber,
)

PLACES = range(1, 500)
TEXTS = [text for sample in SETS for texts in sample.texts.values() for text in texts]

by_name = pytest.mark.parametrize("sample", SETS, ids=lambda sample: sample.short_name)


@by_name
def test_a_set_says_as_much_in_every_language(sample: SampleSet) -> None:
    if sample.content_type == "text":
        assert set(sample.texts) == set(LANGUAGES)
        assert {len(texts) for texts in sample.texts.values()} == {len(sample)}
    else:
        assert not sample.texts


@by_name
def test_a_schedule_has_a_next_time(sample: SampleSet) -> None:
    fields = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
    Cron(**{name: sample.schedule.get(name, "*") for name in fields})


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_fits_into_one_message_and_needs_no_special_characters(text: str) -> None:
    assert len(text) <= 160
    assert typographic_characters(text) == []


def test_nobody_is_registered_twice() -> None:
    everybody = [sample_subscriber(place) for place in PLACES] + [unregistered_subscriber()]
    assert len({one.identity for one in everybody}) == len(everybody)
    assert len({one.msisdn for one in everybody}) == len(everybody)


def test_a_subscriber_is_the_same_every_time() -> None:
    assert sample_subscriber(7) == sample_subscriber(7)


def test_the_cohort_wants_every_set_in_every_language() -> None:
    cohort = [sample_subscriber(place) for place in range(1, COHORT + 1)]
    assert {(one.short_name, one.lang) for one in cohort} == {
        (sample.short_name, lang) for sample in SETS for lang in LANGUAGES
    }


def test_a_subscriber_begins_within_their_set_and_a_later_one_at_its_beginning() -> None:
    lengths = {sample.short_name: len(sample) for sample in SETS}
    for place in PLACES:
        one = sample_subscriber(place)
        assert 1 <= one.first <= (lengths[one.short_name] if place <= COHORT else 1)


def test_a_recording_is_a_wav_file_that_plays() -> None:
    with wave.open(BytesIO(sound(3))) as recording:
        seconds = recording.getnframes() / recording.getframerate()
        assert 0.5 < seconds < 1
        assert any(recording.readframes(recording.getnframes()))


def test_every_recording_has_a_name_and_a_sound_of_its_own() -> None:
    assert len({sound(number) for number in range(1, 6)}) == 5
    assert len({sound_name(number) for number in range(1, 6)}) == 5
