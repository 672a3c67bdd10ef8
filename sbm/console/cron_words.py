"""When a schedule is due, in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen
from babel.dates import get_day_names, get_month_names
from babel.lists import format_list
from babel.support import NullTranslations

from sbm.model.cron import Cron

# With more times than this, the hours and the minutes are told instead.
_MOST_TIMES = 6
# So many numbers in a row are told as the first and the last one.
_SHORTEST_RUN = 3
_HOUR, _DAY, _WEEK, _MONTH, _YEAR = 60, 24, 7, 31, 12


def words(cron: Cron, texts: NullTranslations, language: str) -> str:
    """When a cron is due, such as "Monday and Thursday at 08:00", in the language of the texts."""
    return _Words(cron=cron, texts=texts, language=language).all


@frozen(kw_only=True)
class _Words:
    cron: Cron
    texts: NullTranslations
    language: str

    @property
    def all(self) -> str:
        _ = self.texts.ugettext
        told = {"days": self._days, "times": self._times}
        months = self.cron.numbers("month_of_year")
        if len(months) == _YEAR:
            return str(_("%(days)s %(times)s")) % told
        names = get_month_names("wide", locale=self.language)
        told["months"] = self._list(months, lambda number: names[number])
        return str(_("%(days)s %(times)s, in %(months)s")) % told

    @property
    def _days(self) -> str:
        _ = self.texts.ugettext
        week, month = self.cron.numbers("day_of_week"), self.cron.numbers("day_of_month")
        names = get_day_names("wide", locale=self.language)
        told = {
            "weekdays": self._list(week, lambda number: names[number - 1]),
            "days": self._list(month, str),
        }
        if len(week) == _WEEK and len(month) == _MONTH:
            return str(_("every day"))
        if len(month) == _MONTH:
            return told["weekdays"]
        if len(week) == _WEEK:
            return str(_("on day %(days)s of the month")) % told
        return str(_("on %(weekdays)s, if it is day %(days)s of the month,")) % told

    @property
    def _times(self) -> str:
        _ = self.texts.ugettext
        hours, minutes = self.cron.numbers("hour"), self.cron.numbers("minute")
        told = {"hours": self._list(hours, str), "minutes": self._list(minutes, str)}
        if len(hours) * len(minutes) <= _MOST_TIMES:
            times = [f"{hour:02}:{minute:02}" for hour in hours for minute in minutes]
            return str(_("at %(times)s")) % {"times": format_list(times, locale=self.language)}
        if len(hours) == _DAY:
            return self._each_hour(minutes) % told
        if len(minutes) == _HOUR:
            return str(_("every minute in the hours %(hours)s")) % told
        return str(_("at minute %(minutes)s of the hours %(hours)s")) % told

    def _each_hour(self, minutes: Sequence[int]) -> str:
        _, counted = self.texts.ugettext, self.texts.ungettext
        step = _HOUR // len(minutes)
        if list(minutes) != list(range(0, _HOUR, step)) or len(minutes) == 1:
            return str(_("at minute %(minutes)s of every hour"))
        told = counted("every %(num)s minute", "every %(num)s minutes", step) % {"num": step}
        return str(_("every minute")) if step == 1 else str(told)

    def _list(self, numbers: Sequence[int], name: Callable[[int], str]) -> str:
        """The names of numbers; of those in a row, the first and the last one."""
        _ = self.texts.ugettext
        runs: list[list[int]] = []
        for number in numbers:
            if runs and number == runs[-1][-1] + 1:
                runs[-1].append(number)
            else:
                runs.append([number])
        told: list[str] = []
        for run in runs:
            if len(run) < _SHORTEST_RUN:
                told += [name(number) for number in run]
            else:
                ends = {"first": name(run[0]), "last": name(run[-1])}
                told.append(str(_("%(first)s to %(last)s")) % ends)
        return format_list(told, locale=self.language)
