"""Make stores of 200 mixed texts to audit: clinical notes in free words, mails and news.

    python benchmarks/audit_stores.py FOLDER

writes FOLDER/chroma, FOLDER/lance (MiniLM's vectors), FOLDER/other (vectors of a second embedder, where one
is given by --embedder) and FOLDER/shuffled.parquet (MiniLM's vectors in another order). All people are
invented. `kdst audit FOLDER/chroma` then says what each gives away.
"""

import random
from pathlib import Path
from typing import Any

import click

FIRST = [
    "Anneliese",
    "Bertram",
    "Cosima",
    "Dagobert",
    "Elfrun",
    "Fiete",
    "Gesine",
    "Hinnerk",
    "Ilka",
    "Jorinde",
    "Kaspar",
    "Leevke",
    "Momme",
    "Neele",
    "Onno",
    "Petra",
    "Quirin",
    "Rieke",
    "Sönke",
    "Thies",
    "Ubbo",
    "Volkmar",
    "Wiebke",
    "Xaver",
    "Yella",
    "Zita",
]
LAST = [
    "Ahlers",
    "Boysen",
    "Carstens",
    "Detlefsen",
    "Ehmke",
    "Feddersen",
    "Gosch",
    "Hansen",
    "Iwersen",
    "Jessen",
    "Ketelsen",
    "Lorenzen",
    "Matthiesen",
    "Nissen",
    "Ohlsen",
    "Petersen",
    "Quast",
    "Rickertsen",
    "Steensen",
    "Thomsen",
    "Uwens",
    "Volquardsen",
]
CLINICAL = (
    "{who} came in limping after a fall from the {thing}; the {part} is swollen but nothing is broken.",
    "Spoke with {who} on the phone, the rash on the {part} has not gone since {day}, cream stopped.",
    "Second visit of {who}: coughing at night, {thing} in the bedroom suspected, asked to come back {day}.",
    "{who} refuses the injection, wants to wait until {day}; blood taken from the {part} as a compromise.",
    "Daughter of {who} reports that he forgets the {thing} on the stove; memory test planned for {day}.",
)
MAIL = (
    "Hi {who}, could you send the invoice for the {thing} before {day}? My number is {phone}.",
    "Dear {who}, your order of one {thing} was shipped {day}; questions go to {mail}.",
    "{who} wrote that the meeting about the {thing} moves to {day}, please answer to {mail}.",
    "Reminder for {who}: the deposit for the {thing} is due {day}, call {phone} if that is too soon.",
    "Thanks {who}, the {thing} arrived {day} and works, I have paid the rest by card.",
)
NEWS = (
    "The council of {place} voted {day} to sell the old {thing} to a group of local farmers.",
    "Hundreds marched through {place} on {day} against the closing of the {thing} factory.",
    "A fire destroyed a {thing} depot near {place} early on {day}, the police said nobody was hurt.",
    "{place} lost the final on {day} after the goalkeeper tripped over a {thing}.",
    "Scientists in {place} presented a {thing} on {day} that runs on sea water alone.",
)
THINGS = [
    "ladder",
    "bicycle",
    "humidifier",
    "kettle",
    "printer",
    "piano",
    "tractor",
    "wardrobe",
    "generator",
    "trampoline",
    "sewing machine",
    "dishwasher",
    "greenhouse",
    "telescope",
    "lawnmower",
    "chandelier",
    "aquarium",
    "drone",
    "harmonium",
]
PARTS = ["wrist", "ankle", "left-shoulder", "right-knee", "neck", "lower-back", "elbow", "scalp"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
PLACES = [
    "Husum",
    "Kappeln",
    "Niebüll",
    "Tönning",
    "Eckernförde",
    "Glückstadt",
    "Ratzeburg",
    "Mölln",
    "Preetz",
]


def texts(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Mixed texts, each with its kind and its sender or patient."""
    rng = random.Random(seed)
    rows: list[dict[str, str]] = []
    while len(rows) < count:
        kind, forms = rng.choice((("clinical", CLINICAL), ("mail", MAIL), ("news", NEWS)))
        first, last = rng.choice(FIRST), rng.choice(LAST)
        text = rng.choice(forms).format(
            who=f"{first} {last}",
            thing=rng.choice(THINGS).replace("-", " "),
            part=rng.choice(PARTS).replace("-", " "),
            day=rng.choice(DAYS),
            place=rng.choice(PLACES),
            phone=f"0{rng.randint(4000, 4999)} {rng.randint(100000, 999999)}",
            mail=f"{last.lower()}{rng.randint(1, 99)}@example.org",
        )
        rows.append(
            {"text": text, "kind": kind, "person": "" if kind == "news" else f"{first} {last}"}
        )
    return rows


def _chroma(folder: Path, rows: list[dict[str, str]], vectors: Any) -> None:
    """A persistent store of Chroma."""
    import chromadb

    client = chromadb.PersistentClient(
        str(folder), settings=chromadb.Settings(anonymized_telemetry=False)
    )
    client.create_collection("texts").add(
        ids=[str(i) for i in range(len(rows))],
        embeddings=vectors.tolist(),
        documents=[row["text"] for row in rows],
        metadatas=[{"kind": row["kind"], "person": row["person"]} for row in rows],
    )


def _lance(folder: Path, rows: list[dict[str, str]], vectors: Any) -> None:
    """A table of LanceDB."""
    import lancedb

    table = [{**row, "vector": v} for row, v in zip(rows, vectors.tolist(), strict=True)]
    lancedb.connect(str(folder)).create_table("texts", table)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--embedder", help="Second embedder, as `kdst run vec2text --embedder` takes it.")
@click.option("--count", default=200, show_default=True, help="Texts of a store.")
def main(folder: Path, embedder: str | None, count: int) -> None:
    """Write the stores into FOLDER."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from kdst_invert.embedders.choose import choose
    from kdst_invert.inputs import InvertInputs

    rows = texts(count)
    written = [row["text"] for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    vectors = choose(InvertInputs(), "cpu")(written)
    _chroma(folder / "chroma", rows, vectors)
    _lance(folder / "lance", rows, vectors)
    order = vectors.roll(1, 0).tolist()
    pq.write_table(pa.table({"text": written, "embedding": order}), folder / "shuffled.parquet")
    if embedder is not None:
        _lance(folder / "other", rows, choose(InvertInputs(embedder=embedder), "cpu")(written))
    click.echo(f"{count} texts a store in {folder}")


if __name__ == "__main__":
    main()
