"""The words and sentences that the generated texts are made of."""

NAMES = (
    "Anna", "Ben", "Carla", "David", "Emma", "Farid", "Grace", "Henry", "Ines", "Jonas",
    "Karin", "Leo", "Mona", "Nora", "Omar", "Paula", "Rosa", "Simon", "Tara", "Viktor",
)  # fmt: skip
THINGS = (
    "apples", "bottles", "bricks", "buttons", "candles", "cards", "chairs", "coins", "cups",
    "eggs", "flowers", "keys", "lamps", "lemons", "letters", "marbles", "nails", "oranges",
    "pears", "pencils", "plates", "postcards", "seeds", "shells", "stamps", "stones", "tickets",
    "tiles", "tins", "tulips",
)  # fmt: skip
PLACES = (
    "barn", "bakery", "cellar", "garden", "hall", "harbour", "kitchen", "library", "market",
    "museum", "office", "school", "shop", "station", "theatre", "workshop",
)  # fmt: skip
EVENTS = (
    "concert", "course", "exhibition", "fair", "festival", "harvest", "journey", "rehearsal",
    "repair", "tournament", "trial", "voyage",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip

SETUPS = {
    "+": (
        "{name} had {a} {things} and bought {b} more.",
        "{name} picked {a} {things} in the morning and {b} in the evening.",
        "There are {a} {things} in the {place} and {b} in the {place2}.",
        "The first box holds {a} {things} and the second box holds {b}.",
        "{name} has {a} {things}. {name2} brings another {b}.",
        "{name} counted {a} {things} on {weekday} and {b} on {weekday2}.",
        "The {place} ordered {a} {things}. Later it ordered {b} more.",
        "{name} collected {a} {things} and {name2} collected {b}.",
    ),
    "-": (
        "{name} had {a} {things} and sold {b} of them.",
        "Of the {a} {things} in the {place}, {b} were broken.",
        "{name} needs {a} {things} and already has {b}.",
        "There were {a} {things} in the {place}. {name} took {b} away.",
        "{name} packed {a} {things} and lost {b} on the way.",
        "The {place} stored {a} {things}, but {b} were given to {name}.",
        "{name} owned {a} {things}. On {weekday} {name2} borrowed {b} of them.",
        "The {place} had {a} {things} and used up {b}.",
    ),
    "*": (
        "{name} filled {a} boxes with {b} {things} each.",
        "There are {a} shelves in the {place}, and each holds {b} {things}.",
        "The {place} has {a} rows of {b} {things}.",
        "{name} bought {a} bags of {b} {things}.",
        "On each of {a} days {name} sold {b} {things}.",
        "Each of the {a} children got {b} {things}.",
        "A truck brought {a} crates with {b} {things} in each.",
        "{name} and {name2} made {a} piles of {b} {things}.",
    ),
    "%": (
        "{name} sold {a}% of the {b} {things}.",
        "In the {place} {a}% of {b} {things} were red.",
        "Some {a}% of all {b} {things} went to the {place}.",
        "{name} gave {a}% of {b} {things} to {name2}.",
        "On {weekday} {a}% of the {b} {things} were counted.",
        "The {place} lost {a}% of its {b} {things}.",
    ),
}
"""Sentences that set a computation up, by operator; {a} stands before {b} in each of them."""

RESULTS = {
    "+": (
        "Altogether that makes{answer} {things}.",
        "In total there are{answer} {things}.",
        "The sum is{answer} {things}.",
        "So the number of {things} is now{answer}.",
        "All in all these are{answer} {things}.",
    ),
    "-": (
        "That leaves{answer} {things}.",
        "The difference is{answer} {things}.",
        "So the number of {things} is now{answer}.",
        "The rest is{answer} {things}.",
        "What remains is{answer} {things}.",
    ),
    "*": (
        "Altogether that makes{answer} {things}.",
        "In total there are{answer} {things}.",
        "The product is{answer} {things}.",
        "All in all these are{answer} {things}.",
        "So the number of {things} is{answer}.",
    ),
    "%": (
        "That is{answer} {things}.",
        "This share is{answer} {things}.",
        "So the share comes to{answer} {things}.",
        "As a number this is{answer} {things}.",
    ),
}
"""Sentences that state the answer, which carries its own leading space."""

DATES = {
    "+": (
        "The {event} starts on {day} and lasts {n} days. It ends on{answer}.",
        "The {event} in the {place} began on {day}. {n} days later it was{answer}.",
        "{name} ordered {things} on {day}. They came after {n} days, on{answer}.",
        "The bill of {day} is due in {n} days, on{answer}.",
        "{name} left on {day} for {n} days and came back on{answer}.",
        "Counting {n} days from {day} leads to{answer}.",
    ),
    "-": (
        "The {event} is on {day}. {name} began {n} days earlier, on{answer}.",
        "The {event} starts on {day}. Tickets are sold from {n} days before, on{answer}.",
        "On {day} the {place} closed, {n} days after the {event} of{answer}.",
        "{name} got the letter on {day}. It was {n} days old, written on{answer}.",
        "The {place} opened on {day}. The work started {n} days before, on{answer}.",
    ),
}
"""Whole texts about a date and a number of days, by the sign of the days."""

EQUATIONS = (
    "{left} = {right}.",
    "In figures: {left} = {right}.",
    "{name} writes {left} = {right}.",
    "As a sum on paper: {left} = {right}.",
)
"""Sentences that write a computation out, which plain texts do now and then."""

DISTRACTORS = (
    "The {place} was built in {year}.",
    "{name2} is {age} years old.",
    "The {place} stands at number {code}.",
    "The bus to the {place} is line {age}.",
    "{name2} lives in room {code}.",
    "It rained on {weekday}.",
    "The {place} is open until {weekday}.",
    "{name2} likes the {event}.",
    "The {place} is next to the {place2}.",
    "The {event} of {year} was a success.",
)
"""Sentences that stand beside a computation and have nothing to do with it."""

PROSE = (
    "{name} walked from the {place} to the {place2} and met {name2}.",
    "The {event} was loud, and the people in the {place} went home late.",
    "On {weekday} the {place} stays closed, but the {place2} is open.",
    "{name2} told {name} about the {event} in the {place}.",
    "The {things} on the table belong to {name}.",
    "It was a cold morning, and nobody came to the {place}.",
    "{name} wrote a long letter about the {event} of {year}.",
    "The old {place} was built in {year} and painted in {year2}.",
    "{name} is {age} years old and lives at number {code}.",
    "The train to the {place} leaves from track {age}.",
    "In {year} there were {code} houses near the {place}.",
    "{name} looked for the {things} but found only the {things2}.",
    "The {place} keeps its {things} in room {code}.",
    "After the {event} {name2} slept until {weekday}.",
    "The wind was strong, and the {things} fell from the shelf.",
    "{name} reads page {code} of a book about the {place}.",
    "{name} and {name2} sang at the {event}.",
    "The road behind the {place} is quiet in the evening.",
    "There are {code} {things} in the {place}, and {name} likes them.",
    "{name2} bought {age} {things} for the {event}.",
)
"""Sentences in which a tool is of no use: nothing in them follows from numbers before."""

COPIES = (
    "The code of the {place} is {code}. {name} types {code}.",
    "{name} lives in room {code}. The letter goes to room {code}.",
    "Order {long} was sent on {day}. On {day} {name} asked about order {long}.",
    "The list says {a} {things} and {b} {things2}. {name} reads: {a} {things} and {b} {things2}.",
    "The numbers are {a}, {b} and {code}. Again: {a}, {b} and {code}.",
    "{name} says: {long}. {name2} repeats: {long}.",
    "Ticket {long} ({code}) is for {name}. {name} shows ticket {long} ({code}).",
    "{name} has {a} {things}. {name2} has {b} {things}. Yes, {name} has {a} and {name2} has {b}.",
    "The {event} is on {day}. {name} notes: {day}.",
    "First {a}, then {b}. Backwards: first {b}, then {a}.",
    "From {a} to {b}, from {b} to {code}. So {a} leads to {b} and {b} leads to {code}.",
)
"""Sentences that repeat what they said, so that copying is learnt from plain text."""

LISTS = ("List:", "Noted:", "The clerk reads:", "First time:", "On the board:")
AGAIN = ("Again:", "Once more:", "The copy:", "Second time:", "Repeated:")
