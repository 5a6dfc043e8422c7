"""Is a word that the network's texts do not know written down?"""

from typing import Any

import pytest

from cohort.naming import MODALITIES, VIEWS
from recon.cardiomm.vocabulary import prompt_notes

SCAN = {"field_t": 3.0, "vendor": "Siemens", "scanner": "Vida", "modality": "cine", "view": "short-axis"}


@pytest.mark.parametrize("modality", sorted(set(MODALITIES.values())))
@pytest.mark.parametrize("view", [*sorted(set(VIEWS.values())), "unknown", "", None])
def test_what_the_catalogue_names_is_known(modality: str, view: str | None) -> None:
    assert prompt_notes(SCAN | {"modality": modality, "view": view}) == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vendor": "Acme"}, "vendor 'Acme' is not among the words"),
        ({"vendor": "siemens"}, "vendor 'siemens'"),
        ({"vendor": ""}, "no vendor is among the words"),
        ({"modality": "CT"}, "modality 'CT'"),
        ({"view": "oblique"}, "view 'oblique'"),
        ({"field_t": 7.0}, "field strength '7 T'"),
        ({"field_t": None}, "no field strength"),
        ({"lifespan": "Elder"}, "lifespan 'Elder'"),
    ],
)
def test_what_nobody_trained_with_is_noted(change: dict[str, Any], said: str) -> None:
    (note,) = prompt_notes(SCAN | change)
    assert note.startswith(said)


def test_each_word_has_a_note_of_its_own() -> None:
    assert len(prompt_notes({})) == 3
    assert len(prompt_notes({"vendor": "A", "modality": "B", "view": "C", "field_t": 0.1, "lifespan": "D"})) == 5
