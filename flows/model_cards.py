"""What do the makers of a run's networks say of them? The cards that lie beside the weights, for the report."""

from pathlib import Path

from flows.config import ValidationConfig
from phenotyping.nnunet import SHIPPED_MODEL
from recon.cardiomm.checkpoint import SHIPPED_WEIGHTS
from recon.reliability_model import SHIPPED_MODELS

CARD = "MODEL_CARD.md"
RELIABILITY_CARD = "RELIABILITY_CARD.md"
NO_CARD = "No model card lies beside these weights."


def model_cards(config: ValidationConfig, weights: list[dict[str, str]]) -> list[dict[str, str]]:
    """Name, text and hash of every network the run uses.

    Parameters
    ----------
    config
        Names the weights; empty ones are the shipped.
    weights
        Entries ``name sha256`` of the provenance, whose hashes the cards get.

    Returns
    -------
    list of dict
        ``name text sha256``; where the weights have no card, the text says so.
    """
    cardiomm = Path(config.reconstruction.weights or SHIPPED_WEIGHTS).parent / CARD
    segmentation = Path(config.segmentation.model_folder or SHIPPED_MODEL) / CARD
    files = {"reliability score": SHIPPED_MODELS.parent / RELIABILITY_CARD, "summary of the training cohort": None}
    networks = [cardiomm, segmentation] if "cardiomm" in config.reconstruction.methods else [segmentation]
    cards = []
    for entry in weights:
        # the networks come first in the provenance, in this order
        path = files[entry["name"]] if entry["name"] in files else networks.pop(0)
        if path is not None:
            text = path.read_text(encoding="utf-8") if path.is_file() else NO_CARD
            cards.append({"name": entry["name"], "text": text, "sha256": entry["sha256"]})
    return cards
