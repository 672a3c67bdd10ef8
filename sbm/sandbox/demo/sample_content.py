"""The sample data of the sandbox: message sets, their schedules, and subscribers."""

from __future__ import annotations

import math
import struct
import wave
from collections.abc import Mapping
from io import BytesIO
from uuid import UUID, uuid5

from attrs import field, frozen

ENGLISH = "eng_ZA"
AFRIKAANS = "afr_ZA"
LANGUAGES = (ENGLISH, AFRIKAANS)

# How many subscribers are registered before the sandbox is ready.
COHORT = 36

_SAMPLES_PER_SECOND = 8000
_NOTE_SECONDS = 0.2
_NOTES = (392.0, 494.0, 587.0, 784.0)  # G4, B4, D5, G5, in hertz

# The namespace of the identities, so that each run of a sandbox has the same people.
_PEOPLE = UUID("6d6f7468-6572-4000-8000-73616e64626f")


@frozen(kw_only=True)
class SampleSet:
    """A message set: its texts by language, or the number of recordings in each language."""

    short_name: str
    label: str
    notes: str
    schedule: Mapping[str, str]
    next_set: str | None = None
    texts: Mapping[str, tuple[str, ...]] = field(factory=dict)
    recordings: int = 0

    @property
    def content_type(self) -> str:
        """The content type, as the API names it."""
        return "audio" if self.recordings else "text"

    def __len__(self) -> int:
        """How many messages it has in each language."""
        return self.recordings or len(self.texts[ENGLISH])


@frozen(kw_only=True)
class SampleSubscriber:
    """A person who registers: their identity, number, message set, language and first message."""

    identity: str
    msisdn: str
    short_name: str
    lang: str
    first: int


def sample_subscriber(place: int) -> SampleSubscriber:
    """The subscriber who registers in this place, counted from 1; the same every time.

    The first COHORT subscribers begin somewhere in their set, so that some soon come to its end.
    Later subscribers begin with its first message.
    """
    sample = AUDIO if place % 6 == 0 else BABY if place % 6 == 4 else PREGNANCY
    if place > COHORT and sample is BABY:
        sample = PREGNANCY
    return SampleSubscriber(
        identity=str(uuid5(_PEOPLE, str(place))),
        # It looks like a real number, but messages to it never leave this machine.
        msisdn=f"+2782000{place:04d}",
        short_name=sample.short_name,
        lang=LANGUAGES[(place + place // 8) % 2],
        first=1 + place * 5 % len(sample) if place <= COHORT else 1,
    )


def unregistered_subscriber() -> SampleSubscriber:
    """A person whom the Identity Store knows, and who has not registered yet."""
    return SampleSubscriber(
        identity=str(uuid5(_PEOPLE, "neighbour")),
        msisdn="+27820999999",
        short_name=PREGNANCY.short_name,
        lang=ENGLISH,
        first=1,
    )


def sound(number: int) -> bytes:
    """Recording ``number``, from 1 on: a WAV file with so many notes, mono, 16 bits."""
    samples = []
    for note in range(number):
        frequency = _NOTES[note % len(_NOTES)]
        length = round(_SAMPLES_PER_SECOND * _NOTE_SECONDS)
        for place in range(length):
            loudness = 12000 * (1 - place / length)
            turn = 2 * math.pi * frequency * place / _SAMPLES_PER_SECOND
            samples.append(round(loudness * math.sin(turn)))
    file = BytesIO()
    with wave.open(file, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(_SAMPLES_PER_SECOND)
        recording.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return file.getvalue()


def sound_name(number: int) -> str:
    """The file name of a recording."""
    return f"sample-chime-{number}.wav"


BABY = SampleSet(
    short_name="baby.text",
    label="Baby, by text message",
    notes="Six messages for the first weeks. Follows pregnancy.text.",
    schedule={"minute": "30", "hour": "9", "day_of_week": "2,5"},
    texts={
        ENGLISH: (
            "Congratulations on your baby! Hold your baby against your skin: it keeps your baby"
            " warm and helps the milk to come.",
            "Breast milk is all your baby needs for 6 months: no water, no porridge. Feed day and"
            " night, whenever your baby asks.",
            "Keep the cord clean and dry. If it smells, or the skin around it is red, take your"
            " baby to the clinic.",
            "Put your baby to sleep on the back, in a cot without pillows or toys.",
            "At 6 weeks your baby needs the next vaccines. Take the Road to Health book along to"
            " the clinic.",
            "Fever, fast breathing, too tired to drink? These are danger signs: take your baby to"
            " the clinic at once.",
        ),
        AFRIKAANS: (
            "Veels geluk met jou baba! Hou jou baba teen jou vel: dit hou jou baba warm en help"
            " dat die melk kom.",
            "Borsmelk is al wat jou baba vir 6 maande nodig het: geen water, geen pap nie. Voed dag"
            " en nag, wanneer jou baba vra.",
            "Hou die naelstring skoon en droog. As dit ruik, of die vel daar is rooi, neem jou baba"
            " kliniek toe.",
            "Laat jou baba op die rug slaap, in 'n bedjie sonder kussings of speelgoed.",
            "Op 6 weke kry jou baba die volgende inentings. Neem die Road to Health-boekie saam"
            " kliniek toe.",
            "Koors, vinnige asemhaling, te moeg om te drink? Dit is gevaartekens: neem jou baba"
            " dadelik kliniek toe.",
        ),
    },
)

PREGNANCY = SampleSet(
    short_name="pregnancy.text",
    label="Pregnancy, by text message",
    notes="Eight messages until the birth, then baby.text.",
    schedule={"minute": "0", "hour": "8", "day_of_week": "1,4"},
    next_set=BABY.short_name,
    texts={
        ENGLISH: (
            "Welcome! We write to you twice a week until your baby is here. Book your first clinic"
            " visit now: the sooner, the better.",
            "Eat a little of everything: beans, eggs, fruit and green vegetables. Small meals"
            " through the day help against feeling sick.",
            "Take one iron and folic acid tablet every day. They keep your blood strong and help"
            " your baby's spine to grow.",
            "Ask for an HIV test at your clinic visit. With treatment, a mother with HIV can have"
            " a healthy baby.",
            "A headache that stays, swollen hands, blurred sight? Go to the clinic today, do not"
            " wait for your next visit.",
            "Your baby can hear you now. Talk and sing to your baby, and feel how the little feet"
            " answer.",
            "Plan the way to the hospital: who takes you, at night too, and who looks after the"
            " children at home?",
            "Pack a bag: clinic card, pads, a warm blanket, clothes for the baby. When the pains"
            " come every 5 minutes, go.",
        ),
        AFRIKAANS: (
            "Welkom! Ons skryf twee keer per week aan jou tot jou baba hier is. Bespreek nou jou"
            " eerste kliniekbesoek: hoe gouer, hoe beter.",
            "Eet 'n bietjie van alles: bone, eiers, vrugte en groen groente. Klein maaltye deur"
            " die dag help teen naarheid.",
            "Neem elke dag een yster- en foliensuurtablet. Dit hou jou bloed sterk en help jou"
            " baba se ruggraat groei.",
            "Vra by jou kliniekbesoek vir 'n MIV-toets. Met behandeling kan 'n ma met MIV 'n"
            " gesonde baba hê.",
            "Hoofpyn wat nie weggaan nie, geswelde hande, dowwe sig? Gaan vandag nog kliniek toe,"
            " moenie wag nie.",
            "Jou baba kan jou nou hoor. Praat en sing vir jou baba, en voel hoe die voetjies"
            " antwoord.",
            "Beplan die pad hospitaal toe: wie neem jou, ook in die nag, en wie kyk na die kinders"
            " by die huis?",
            "Pak 'n tas: kliniekkaart, doekies, 'n warm kombers, klere vir die baba. As die pyne"
            " elke 5 minute kom, gaan.",
        ),
    },
)

AUDIO = SampleSet(
    short_name="pregnancy.audio",
    label="Pregnancy, by voice",
    notes="Five recordings for those who would rather listen. The sound is a chime.",
    schedule={"minute": "0", "hour": "17", "day_of_week": "3"},
    recordings=5,
)

# Each set comes after its next set, because it refers to it.
SETS = (BABY, PREGNANCY, AUDIO)
