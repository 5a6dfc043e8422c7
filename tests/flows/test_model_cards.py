"""The cards of a run's networks are those beside its weights."""

from pathlib import Path

import pytest

from flows.config import Reconstruction, Segmentation, ValidationConfig
from flows.model_cards import NO_CARD, model_cards
from flows.provenance import weights


def test_shipped_networks_have_their_cards(tmp_path: Path) -> None:
    config = ValidationConfig(name="s", cohort=tmp_path, out=tmp_path / "out")
    cards = model_cards(config, weights(config))
    assert [card["text"].splitlines()[0][:2] for card in cards] == ["# "] * 3
    assert ["CardioMM" in cards[0]["text"], "segmentation" in cards[1]["text"]] == [True, True]
    assert "eliab" in cards[2]["text"].splitlines()[0]
    assert all(len(card["sha256"]) == 64 for card in cards)


def test_the_shipped_cards_state_the_hashes_of_the_weights(tmp_path: Path) -> None:
    config = ValidationConfig(name="s", cohort=tmp_path, out=tmp_path / "out")
    for card in model_cards(config, weights(config))[:2]:
        assert card["sha256"] in card["text"], f"the card of {card['name']} is of other weights"


@pytest.mark.parametrize("with_card", [False, True])
def test_weights_of_the_user_have_their_own_card_or_none(tmp_path: Path, with_card: bool) -> None:
    if with_card:
        (tmp_path / "MODEL_CARD.md").write_text("# Ours\n", encoding="utf-8")
    config = ValidationConfig(
        name="s",
        cohort=tmp_path,
        out=tmp_path / "out",
        reconstruction=Reconstruction(methods=("sense",), reliability=False),
        segmentation=Segmentation(model_folder=str(tmp_path)),
    )
    (card,) = model_cards(config, [{"name": "ours", "sha256": "0" * 64}])
    assert card["text"] == ("# Ours\n" if with_card else NO_CARD)
