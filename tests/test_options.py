"""One attrs class becomes flags, variables and TOML, with the same checks for each."""

import datetime
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from kdst_core.errors import KdstError
from kdst_core.options import (
    Given,
    Section,
    build,
    from_environment,
    from_toml,
    items,
    option,
    plain,
)
from kdst_core.plugins.declared import OF_RUN, check_options


@frozen
class Inner:
    rate: float = option(0.5, "A rate.", min=0, max=1)


@frozen
class Options:
    steps: int = option(20, "Steps.", min=1)
    lr: float = option(0.1, "Rate.", above=0)
    mode: Literal["fast", "slow"] = option("fast", "Mode.")
    file: Path | None = option(None, "File.")
    names: list[str] = option([], "Names.")
    sizes: list[float] = option([], "Sizes.", min=0)
    deep: bool = option(False, "Deep.")
    inner: Inner = field(factory=Inner)


SECTION = Section("Options", "demo", Options)
ITEMS = items(SECTION)


def flags(**values: object) -> dict[str, Given]:
    return {
        "--" + k.replace("_", "-"): Given(v, "--" + k.replace("_", "-"), Path.cwd())
        for k, v in values.items()
    }


def test_flags_are_named_after_the_fields_nested_ones_included() -> None:
    assert [i.flag for i in ITEMS][-2:] == ["--deep", "--inner-rate"]


@pytest.mark.parametrize(
    ("given_values", "expected"),
    [
        ({"steps": "3", "lr": "1e-3"}, Options(steps=3, lr=1e-3)),
        ({"names": "a, b", "sizes": "1,2.5"}, Options(names=["a", "b"], sizes=[1.0, 2.5])),
        ({"deep": "true", "inner_rate": "0.25"}, Options(deep=True, inner=Inner(0.25))),
        ({"file": "/x/y"}, Options(file=Path("/x/y"))),
    ],
)
def test_text_becomes_typed_values(given_values: dict[str, str], expected: Options) -> None:
    assert build(SECTION, flags(**given_values)) == expected


@pytest.mark.parametrize(
    ("given_values", "message"),
    [
        ({"steps": "abc"}, "--steps: 'abc' is not a whole number"),
        ({"steps": "2.5"}, "--steps: '2.5' is not a whole number"),
        ({"steps": 2.5}, "--steps: 2.5 is not a whole number"),
        ({"steps": True}, "--steps: True is not a whole number"),
        ({"steps": "0"}, "--steps: steps must be at least 1, not 0"),
        ({"lr": "0"}, "--lr: lr must be above 0, not 0"),
        ({"lr": "nan"}, "--lr: 'nan' is not a number that can be computed with: it must be finite"),
        ({"mode": "quick"}, "--mode: 'quick' is not one of fast, slow"),
        ({"sizes": "1,x"}, "--sizes: '1,x' is not a list, each a number"),
        ({"deep": "perhaps"}, "--deep: 'perhaps' is not true or false"),
        ({"inner_rate": "7"}, "--inner-rate: rate must be at most 1, not 7"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    given_values: dict[str, object], message: str
) -> None:
    with pytest.raises(KdstError) as caught:
        build(SECTION, flags(**given_values))
    assert str(caught.value) == message


def test_an_unknown_variable_of_the_method_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(KdstError, match=r"KDST_DEMO_STEP names no option.*KDST_DEMO_STEPS"):
        from_environment(ITEMS, "demo", environ={"KDST_DEMO_STEP": "1"})


def test_variables_of_a_method_with_a_longer_name_are_left_alone() -> None:
    environ = {"KDST_DEMO_TWO_LR": "1", "KDST_DEMO_LR": "2", "KDST_OTHER_X": "3"}
    found = from_environment(ITEMS, "demo", ["demo-two"], environ)
    assert {k: g.value for k, g in found.items()} == {"--lr": "2"}


def test_toml_names_its_file_and_table(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[demo]\nsteps = "many"\n')
    with pytest.raises(KdstError, match=r"c.toml \[demo\] steps: 'many' is not a whole number"):
        build(SECTION, from_toml(path, ITEMS))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[dmeo]\n", r"unknown table \[dmeo\]. Did you mean 'demo'"),
        ("[demo]\nstps = 1\n", r"no option 'stps'. Did you mean 'steps'"),
        ("[demo\n", "not valid TOML"),
        ("demo = 1\n", "must be a table"),
    ],
)
def test_toml_errors_suggest_what_was_meant(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(KdstError, match=message):
        from_toml(path, ITEMS)


def test_toml_paths_are_relative_to_the_file_and_nested_tables_work(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[demo]\nfile = "w.pt"\n[demo.inner]\nrate = 1\n[elsewhere]\nx = 1\n')
    built = build(SECTION, from_toml(path, ITEMS, ["elsewhere"]))
    assert built == Options(file=(tmp_path / "w.pt").resolve(), inner=Inner(1.0))


def test_two_classes_with_one_flag_are_refused() -> None:
    with pytest.raises(KdstError, match=r"--steps is claimed by \[demo\] and \[other\]"):
        check_options([SECTION, Section("Other", "other", Options)])


@pytest.mark.parametrize("name", OF_RUN)
def test_no_option_takes_the_flag_of_every_run(name: str) -> None:
    made = attrs.make_class("Made", {name: option("a", "A.")})
    with pytest.raises(KdstError, match=rf"--{name} is claimed by \[every run\] and \[m\]"):
        check_options([Section("M", "m", made)])


def test_a_switch_has_the_flag_of_its_denial_too() -> None:
    made = attrs.make_class(
        "Made",
        {"fast": attrs.field(type=bool, default=True), "no_fast": attrs.field(type=int, default=1)},
    )
    with pytest.raises(KdstError, match="--no-fast is claimed by"):
        check_options([Section("M", "m", made)])


@pytest.mark.parametrize(
    ("kind", "default", "fine"),
    [
        (int | None, None, True),
        (list[Path], [], True),
        (tuple[float, ...], (1.0,), True),
        (Literal["a", "b"], "a", True),
        (Literal["a", "b"], "c", False),
        (Literal["a", 3], "a", False),
        (set[int], set(), False),
        (complex, 1j, False),
        (bytes, b"", False),
        (int | str, 1, False),
        (datetime.date, datetime.date(2020, 1, 1), False),
    ],
)
def test_an_option_that_no_flag_gives_or_no_run_keeps_is_refused(
    kind: Any, default: Any, fine: bool
) -> None:
    made = attrs.make_class("Made", {"a": attrs.field(type=kind, default=default)})
    if fine:
        check_options([Section("M", "m", made)])
        return
    with pytest.raises(KdstError, match=r"option --a of \[m\]") as told:
        check_options([Section("M", "m", made)])
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("flag", ["--file", "--names"])
def test_bytes_that_are_no_text_are_refused_by_name(tmp_path: Path, flag: str) -> None:
    with pytest.raises(KdstError, match=f"{flag}: .* has bytes that are no text"):
        build(SECTION, {flag: Given("a\udcff", flag, tmp_path)})


def test_variables_of_two_methods_at_once_are_refused() -> None:
    with pytest.raises(KdstError, match="KDST_MY_X_STEPS is of my-x and of my_X"):
        from_environment(ITEMS, "my-x", ["my_X"], {"KDST_MY_X_STEPS": "3"})
    assert from_environment(ITEMS, "my-x", ["my_X"], {}) == {}


def test_a_file_that_begins_with_a_mark_of_byte_order_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xef\xbb\xbf[demo]\nsteps = 2\n")
    assert list(from_toml(path, ITEMS)) == ["--steps"]


@given(
    steps=st.integers(1, 10**9),
    lr=st.floats(1e-300, 1e300),
    mode=st.sampled_from(["fast", "slow"]),
    names=st.lists(st.from_regex(r"[a-z_.-]{1,8}", fullmatch=True)),
    sizes=st.lists(st.floats(0, 1e9)),
    deep=st.booleans(),
)
def test_any_values_survive_text(**values: object) -> None:
    expected = Options(**values)  # type: ignore[arg-type]
    text = {
        k: ",".join(map(str, v)) if isinstance(v, list) else str(v)
        for k, v in plain(expected).items()
        if k not in ("file", "inner")
    }
    assert build(SECTION, flags(**text)) == expected


@frozen
class Optional:
    """An option that may be left out."""

    strength: float | None = option(None, "How strong.", above=0)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), "inf", "nan"])
def test_an_option_that_may_be_left_out_is_finite_too(value: object) -> None:
    section = Section("Optional", "demo", Optional)
    assert build(section, flags(strength="2")).strength == 2
    with pytest.raises(KdstError, match=r"--strength: .* is not a number"):
        build(section, flags(strength=value))
