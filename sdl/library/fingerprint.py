"""Morgan fingerprints of SMILES, packed eight bits to a byte."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class UnparsableError(ValueError):
    """A text is no SMILES.

    :param place: where it stands among the texts given.
    """

    def __init__(self, place: int, text: str) -> None:
        super().__init__(f"{text!r} is no SMILES that RDKit understands")
        self.place = place


def pack(smiles: Sequence[str], radius: int, bits: int) -> "NDArray[np.uint8]":
    """Return fingerprints, n x bits/8, bit i of byte j being bit 8 j + i.

    :raises UnparsableError: the first text that is no molecule.
    :raises ValueError: RDKit is not installed.
    """
    import numpy as np

    try:
        from rdkit import Chem, DataStructs, rdBase
        from rdkit.Chem import rdFingerprintGenerator
    except ImportError as error:
        raise ValueError(
            "fingerprints are made by RDKit, which is not installed: pip install 'sdl[molecules]'"
        ) from error
    maker = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=bits)
    packed = bytearray()
    with rdBase.BlockLogs():  # it would print each mistake
        for place, text in enumerate(smiles):
            molecule = Chem.MolFromSmiles(text) if text else None
            if molecule is None:
                raise UnparsableError(place, text)
            packed += DataStructs.BitVectToBinaryText(maker.GetFingerprint(molecule))
    return np.frombuffer(bytes(packed), np.uint8).reshape(len(smiles), bits // 8)
