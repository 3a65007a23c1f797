"""Given and family names of people who do not exist, and which full names are held out."""

import re
from itertools import pairwise

FIRST = tuple(
    """
    Adam Agnes Alan Albert Alex Alice Alison Amanda Amy Andrea Andrew Angela Anita Anna Anne Anthony
    Antonio Arthur Barbara Beatrice Benjamin Bernard Beth Betty Bill Bobby Brandon Brenda Brian Bruce
    Caleb Carl Carlos Carmen Carol Caroline Catherine Cecilia Charles Charlotte Cheryl Chris Christina
    Claire Clara Claude Connie Craig Crystal Cynthia Daisy Daniel David Dean Deborah Dennis Diana
    Donald Donna Doris Dorothy Douglas Dylan Edgar Edith Edward Eileen Elaine Eleanor Elena Elizabeth
    Ellen Emily Emma Eric Erica Ernest Esther Ethan Eugene Eva Evelyn Felix Fiona Florence Frances
    Francis Frank Fred Gabriel Gary Geoffrey George Gerald Gilbert Gina Gloria Gordon Grace Greg
    Hannah Harold Harry Heather Hector Helen Henry Herbert Holly Howard Hugh Ian Ingrid Irene Iris
    Isaac Isabel Ivan Jack Jacob James Jane Janet Jasmine Jason Jean Jeffrey Jennifer Jeremy Jerry
    Jessica Joan Joel John Jonathan Jordan Joseph Joshua Joyce Juan Judith Julia Julian June Karen
    Katherine Keith Kelly Kenneth Kevin Kim Kyle Larry Laura Lauren Lawrence Leo Leonard Leslie Lewis
    Lillian Linda Lisa Lloyd Louis Louise Lucas Lucy Luis Luke Lydia Marcus Margaret Maria Marilyn
    Mario Marion Mark Martha Martin Mary Mason Matthew Maurice Max Megan Melissa Michael Miguel
    Miranda Molly Monica Nancy Naomi Natalie Nathan Nicholas Nicole Nina Nora Norman Oliver Olivia
    Oscar Pamela Patricia Patrick Paul Paula Peter Philip Phyllis Rachel Ralph Ramon Randy Raymond
    Rebecca Richard Robert Roger Ronald Rosa Rosemary Ruby Russell Ruth Ryan Samantha Samuel Sandra
    Sara Scott Sean Sharon Sheila Shirley Simon Sophia Stanley Stella Stephen Steve Susan Sylvia
    Teresa Theodore Thomas Timothy Tina Todd Tony Tracy Ursula Valerie Vanessa Vera Vernon Victor
    Victoria Vincent Violet Virginia Vivian Walter Wanda Warren Wayne Wendy William Yvonne Zoe
    """.split()  # noqa: SIM905
)

LAST = tuple(
    """
    Abbott Adams Alexander Allen Alvarez Anderson Andrews Armstrong Arnold Atkins Austin Bailey Baker
    Baldwin Ball Banks Barber Barker Barnes Barnett Barrett Barton Bates Beck Becker Bell Bennett
    Benson Berg Berry Bishop Black Blair Blake Bond Bowen Bowman Boyd Bradley Brady Brennan Brewer
    Briggs Brooks Brown Bryant Burgess Burke Burns Burton Butler Byrne Cameron Campbell Cannon Carlson
    Carpenter Carr Carroll Carter Castro Chambers Chandler Chapman Chavez Chen Clark Clarke Clayton
    Cohen Cole Coleman Collins Conrad Conway Cooper Costa Cox Crawford Cross Cruz Cunningham Curtis
    Daly Davidson Davis Dawson Delgado Dixon Doyle Drake Duncan Dunn Edwards Elliott Ellis Evans
    Farrell Ferguson Fernandez Fischer Fisher Fleming Fletcher Flores Flynn Ford Foster Fowler Fox
    Franklin Fraser Freeman Fuller Garcia Gardner Garrett Gibson Gilmore Gomez Gonzalez Goodman Graham
    Grant Gray Green Greene Griffin Griffith Gross Hale Hall Hamilton Hammond Hansen Hanson Harper
    Harris Harrison Hart Harvey Hawkins Hayes Henderson Hernandez Hicks Higgins Hill Hoffman Holland
    Holmes Holt Hopkins Horton Hudson Hughes Hunt Hunter Jackson Jacobs Jennings Jensen Johnson
    Johnston Jones Joseph Kaplan Kaufman Keller Kelley Kemp Kennedy Kerr Khan King Klein Knight Kumar
    Lambert Lane Larsen Larson Lawson Lee Levy Lin Lindsay Little Long Lopez Lowe Lynch Lyons Mack
    MacDonald Malone Manning Marsh Marshall Martinez Mason McCarthy McCoy McDonald McKenzie McLean
    Meyer Miles Miller Mills Mitchell Montgomery Moore Morales Moreno Morgan Morris Morrison Moss
    Mueller Murphy Murray Myers Nash Nelson Newman Newton Nguyen Nichols Nolan Norris O'Brien O'Connor
    Oliver Olson Ortiz Osborne Owen Palmer Park Parker Parsons Patel Patterson Payne Pearson Perez
    Perkins Perry Peters Peterson Phillips Pierce Porter Powell Powers Price Quinn Ramirez Ramos Reed
    Reid Reyes Reynolds Rhodes Rice Richards Richardson Riley Rivera Roberts Robertson Robinson
    Rodriguez Rogers Romero Rose Ross Rossi Rowe Russo Ryan Sanchez Sanders Santos Saunders Schmidt
    Schneider Schultz Schwartz Sharma Shaw Shepherd Silva Simmons Simpson Sinclair Singh Smith Snyder
    Spencer Stevens Stewart Stone Sullivan Sutton Swanson Taylor Thompson Thornton Torres Townsend
    Tucker Turner Tyler Vargas Vasquez Vaughn Wade Wagner Walker Wallace Walsh Walters Ward Watkins
    Watson Watts Weaver Webb Weber Webster Weiss Welch Wells West Wheeler White Williams Williamson
    Wilson Winter Wolf Wong Wood Woods Wright Yang Young Zimmerman
    """.split()  # noqa: SIM905
)


def is_held_out(first: int, last: int) -> bool:
    """Whether a full name, by its places in the lists, is kept from training: one in ten is.

    Every given and every family name occurs in training, with other partners.
    """
    return (7 * first + last) % 10 == 0


def says_held_out(text: str) -> bool:
    """Whether a text says a full name that is kept from training."""
    words = re.findall(r"[^\W\d_][\w']*", text)
    return any(
        first in _PLACES[0]
        and last in _PLACES[1]
        and is_held_out(_PLACES[0][first], _PLACES[1][last])
        for first, last in pairwise(words)
    )


_PLACES = [{name: i for i, name in enumerate(names)} for names in (FIRST, LAST)]
