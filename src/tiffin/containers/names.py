"""Names of containers: what they may be, and one for those who give none."""

import random
import re
import secrets
from collections.abc import Callable

from tiffin.errors import Invalid

ALLOWED = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
FULL_ID = re.compile(r"[0-9a-f]{64}")

_ADJECTIVES = """
    able agile amber ample apt artful awake balmy bold brave breezy bright brisk calm candid careful cheerful
    chipper clever cosy crisp curious dapper daring deft diligent dreamy eager earnest easygoing elated fair
    fearless festive fond frank friendly gallant gentle gifted glad graceful grand happy hardy helpful honest
    hopeful humble jolly jovial keen kind lively loyal lucid lucky mellow merry mighty modest neat nimble noble
    patient peaceful placid playful polite proud quick quiet radiant ready serene sharp shiny silent sincere smooth
    snug spry steady stoic sunny sturdy swift tender thrifty tidy trusty upbeat vivid warm wise witty zesty
"""

_SURNAMES = """
    abel agnesi anning archimedes avicenna babbage banach bardeen bell bernoulli bohr boole born bose brahe burnell
    cantor carson cauchy chandrasekhar church codd copernicus cori curie dalton darwin dijkstra dirac easley edison
    einstein elion erdos euclid euler faraday fermat fermi feynman franklin galileo galois gauss germain goodall
    haber hamilton hamming heisenberg herschel hertz hilbert hodgkin hooke hopper hubble huygens hypatia jackson
    jemison johnson joliot kalam kepler khorana knuth kovalevskaya lamarr laplace lavoisier leakey leibniz liskov
    lovelace lumiere mandelbrot maxwell mayer mccarthy mcclintock meitner mendel mendeleev mirzakhani moser napier
    newton nightingale nobel noether panini pascal pasteur payne perlman pike planck poincare ptolemy raman
    ramanujan ride ritchie rubin saha sammet shannon shaw shockley sinoussi snyder stallman swanson swartz tesla
    thompson torvalds turing varahamihira villani wiles wing wozniak wright wu yalow yonath
"""


def new_id() -> str:
    """64 hexadecimal digits whose first twelve are never all decimal: as a hostname that would read as a number."""
    while True:
        candidate = secrets.token_hex(32)
        if not candidate[:12].isdecimal():
            return candidate


def invent(taken: Callable[[str], bool]) -> str:
    """An adjective and a scientist; a digit is added once the plain ones seem used up."""
    for attempt in range(100):
        words = random.choice(_ADJECTIVES.split()), random.choice(_SURNAMES.split())
        name = "_".join(words) + (str(attempt) if attempt > 5 else "")
        if not taken(name):
            return name
    return secrets.token_hex(8)


def checked(name: str) -> str:
    """The name without its leading slash. Raises Invalid with docker's words."""
    bare = name.removeprefix("/")
    if not ALLOWED.fullmatch(bare):
        raise Invalid(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return bare
