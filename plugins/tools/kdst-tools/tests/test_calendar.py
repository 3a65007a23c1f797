"""The calendar: the document's date, weekdays, and arithmetic that agrees with `datetime`."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdst_core.contracts import Document
from kdst_core.errors import KdstError
from kdst_tools.tools.calendar import EXAMPLES, answer, make, written

DAYS = st.dates(date(1000, 1, 1), date(3000, 1, 1))


@given(DAYS, st.integers(0, 5000), st.sampled_from("+-"))
def test_days_are_added_as_datetime_adds_them(day: date, count: int, sign: str) -> None:
    reached = day + timedelta(count if sign == "+" else -count)
    for given_day in (f"{day.day} {day:%B} {day.year:04}", day.isoformat()):
        assert answer(f"{given_day} {sign} {count} days", None) == written(reached)


@given(DAYS, DAYS)
def test_differences_are_those_of_datetime(first: date, last: date) -> None:
    days = (first - last).days
    unit = "day" if abs(days) == 1 else "days"
    assert answer(f"{first.isoformat()} - {last.isoformat()}", None) == f"{days} {unit}"


@given(DAYS)
def test_what_the_calendar_writes_it_can_read(day: date) -> None:
    assert answer(written(day), None) == written(day)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("", "Friday 30 November 2018"),
        ("today", "Friday 30 November 2018"),
        ("today + 1 day", "Saturday 1 December 2018"),
        ("+ 2 weeks", "Friday 14 December 2018"),
        ("31 January 2024 + 1 month", "Thursday 29 February 2024"),
        ("29 February 2024 - 1 year", "Tuesday 28 February 2023"),
        ("March 3rd, 2031", "Monday 3 March 2031"),
        ("Monday, 3 March 2031 − 3 days", "Friday 28 February 2031"),
        ("2024-06-24 - 2024-05-01", "54 days"),
        ("today - 1 November 2018", "29 days"),
        ("today - 29 November 2018", "1 day"),
        ("29 November 2018 - today", "-1 day"),
        ("Sept 5, 2024", "Thursday 5 September 2024"),
        ("Thurs. 5th of Sept. 2024", "Thursday 5 September 2024"),
        ("2024/09/05", "Thursday 5 September 2024"),
        ("5. September 2024", "Thursday 5 September 2024"),
        ("the 5th of September, 2024?", "Thursday 5 September 2024"),
        ("5-Sep-2024", "Thursday 5 September 2024"),
        ("20240905", "Thursday 5 September 2024"),
        ("05.09.2024", "Thursday 5 September 2024"),
        ("13/9/2024", "Friday 13 September 2024"),
        ("9/13/2024", "Friday 13 September 2024"),
        ("\u200e５ September ２０２４ =", "Thursday 5 September 2024"),
        ("tomorrow", "Saturday 1 December 2018"),
        ("yesterday + 1 week", "Thursday 6 December 2018"),
        ("today plus one month and 2 days", "Tuesday 1 January 2019"),
        ("today + 1 month + 2 days - 1 week", "Tuesday 25 December 2018"),
        ("3 days after 5 September 2024", "Sunday 8 September 2024"),
        ("a week before 5 September 2024", "Thursday 29 August 2024"),
        ("2 days ago", "Wednesday 28 November 2018"),
        ("in 2 days", "Sunday 2 December 2018"),
        ("3 days from today", "Monday 3 December 2018"),
        ("9 June 2024 – 8 June 2024", "1 day"),
        ("8 June 2024 to 8 July 2024", "30 days"),
        ("days between 8 June 2024 and 9 June 2024", "1 day"),
        ("from 8 June 2024 until 10 June 2024", "2 days"),
        ("1 December 2018 - today", "1 day"),
        ("today + 1 day - today", "1 day"),
    ],
)
def test_hand_checked_dates(asked: str, said: str) -> None:
    assert answer(asked, date(2018, 11, 30)) == said


@pytest.mark.parametrize(
    "asked",
    ["30 February 2024", "3 Foo 2031", "in a day or so", "x" * 10_000, "1 - 2",
     "9 March 2031 + 9999999999 days",
     "31 December 9999 + 1 day", "1 January 0001 - 100000 years", "2024-13-01", "+", "3 March",
     "5/9/2024", "2024-09/05", "05-09-2024", "13-09/2024", "date", "it"],
)  # fmt: skip
def test_what_cannot_be_read_is_a_value_error(asked: str) -> None:
    with pytest.raises(ValueError, match=r"date|add"):
        answer(asked, date(2018, 11, 30))


def test_today_is_the_documents_date_and_an_error_where_it_has_none() -> None:
    calendar = make(None)
    assert calendar("", Document("x", date=date(2031, 3, 3))) == "Monday 3 March 2031"
    with pytest.raises(ValueError, match="no date"):
        calendar("", Document("x"))


def test_the_calls_of_the_examples_give_what_their_texts_say() -> None:
    for plain, annotated in EXAMPLES[1:]:
        before, call = annotated.split("[Calendar(")
        asked, after = call.split(")] ")
        assert before + after == plain
        assert answer(asked, None).split()[0] in after.split()[0].rstrip(".")


def test_it_takes_no_argument() -> None:
    with pytest.raises(KdstError, match="takes no argument"):
        make("x")


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("1 May to 24 June 2024", "54 days"),
        ("between 20 December and 5 January 2025", "16 days"),
        ("24 June 2024 - 1 May", "54 days"),
        ("days until 25 March 2024", "10 days"),
        ("how many days to 16 March 2024?", "1 day"),
        ("days since 1 March 2024", "14 days"),
        ("the day after tomorrow", "Sunday 17 March 2024"),
        ("the day before yesterday", "Wednesday 13 March 2024"),
        ("day after 28 February 2024", "Thursday 29 February 2024"),
        ("what day is 3 March 2031?", "Monday 3 March 2031"),
        ("Which weekday was 9 November 1989", "Thursday 9 November 1989"),
        ("day of the week of 2031-03-03", "Monday 3 March 2031"),
        ("2024-03-05T10:00:00Z", "Tuesday 5 March 2024"),
        ("2024-03-05T23:59 + 1 day", "Wednesday 6 March 2024"),
        ("2024-03-05 10:00:00", "Tuesday 5 March 2024"),
        ("how many days between 1 May and 24 June 2024?", "54 days"),
        ("How many days are there from 1 May 2024 to 24 June 2024", "54 days"),
        ("What day is it today?", "Friday 15 March 2024"),
        ("What is today's date?", "Friday 15 March 2024"),
        ("'9 November 1989'.", "Thursday 9 November 1989"),
        ("12/Mar/2024", "Tuesday 12 March 2024"),
        ("March 12,2024", "Tuesday 12 March 2024"),
        ("13-03-2024", "Wednesday 13 March 2024"),
        ("5/5/2024", "Sunday 5 May 2024"),
    ],
)
def test_questions_and_spans_are_read_as_people_write_them(asked, wanted):
    assert answer(asked, date(2024, 3, 15)) == wanted


@pytest.mark.parametrize(
    "asked", ["31 June to 2 July 2024", "May to June 2024", "days until", "1 May"]
)
def test_spans_that_name_no_day_are_refused(asked):
    with pytest.raises(ValueError, match="date"):
        answer(asked, date(2024, 3, 15))
