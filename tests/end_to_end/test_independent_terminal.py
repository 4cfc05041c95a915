"""The outside terminal agrees with published vectors, before it judges anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from independent_card import Tap, card_key, covered_by, cup_ecb, pboc_session_key, retail_mac
from independent_terminal import HEADER_BYTES, WorkingKeys

VECTORS = Path(__file__).parents[1] / "vectors"


def vector(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


def test_the_client_agrees_with_the_published_vectors() -> None:
    pboc = vector("cryptograms.json")["pboc"][0]
    chip = {tag: bytes.fromhex(value) for tag, value in pboc["de55"].items()}
    session_key = pboc_session_key(
        card_key(bytes.fromhex(pboc["imk_ac"]), pboc["pan"], pboc["psn"]), int(pboc["atc"], 16)
    )
    covered = covered_by(chip)
    assert covered.hex().upper() == pboc["ac_input"]
    assert retail_mac(session_key, covered).hex().upper() == pboc["arqc"]
    assert Tap(chip, session_key).arpc(pboc["arc_ascii"]).hex().upper() == pboc["arpc"]

    download = vector("mac.json")["key_download_de62"][0]
    keys = WorkingKeys.from_de62(bytes.fromhex(download["tmk"]), bytes.fromhex(download["de62"]))
    assert (keys.pik.hex().upper(), keys.mak.hex().upper()) == (download["pik"], download["mak"])

    sample = next(one for one in vector("messages.json") if one["id"] == "pos-0200-sale-macok")
    body = bytes.fromhex(sample["hex"])[2:]
    mac = vector("mac.json")["cup_ecb"]
    assert cup_ecb(bytes.fromhex(mac["mak"]), body[HEADER_BYTES:-8]).decode() == mac["de64_ascii"]
