import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from sdl.library import Library, store, table

SMILES = ["CCO", "c1ccccc1O", "CC(=O)N", "CCCCCl", "c1ccncc1"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def written(folder: Path, columns: dict[str, list[Any]], name: str = "rows.csv") -> str:
    with (folder / name).open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))
    return name


def library(folder: Path, columns: dict[str, list[Any]], **given: Any) -> Library:
    given = {"library": written(folder, columns), "features": "fingerprint"} | given
    return Library.model_validate(given).resolved(folder)


def test_a_row_is_named_by_its_key(tmp_path: Path) -> None:
    found = library(tmp_path, {"smiles": SMILES}, key="smiles")
    assert found.rows == len(SMILES)
    assert [found.from_unit(row) for row in range(5)] == SMILES
    assert [found.to_unit(key) for key in SMILES] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert found.check("CCO") is None
    assert "column 'smiles' of rows.csv" in str(found.check("CCCO"))
    assert "must be text" in str(found.check(3))
    with pytest.raises(ValueError, match="no key"):
        found.to_unit("CCCO")


def test_it_is_sent_by_path_and_digest_never_by_content(tmp_path: Path) -> None:
    found = library(tmp_path, {"smiles": SMILES}, key="smiles")
    text = found.model_dump_json()
    assert "CCO" not in text
    assert Library.model_validate_json(text) == found
    assert Library.model_validate_json(text).from_unit(1.0) == SMILES[1]


def test_another_process_refuses_a_file_that_has_changed(tmp_path: Path) -> None:
    found = library(tmp_path, {"smiles": SMILES}, key="smiles")
    (tmp_path / "rows.csv").write_text("smiles\n" + "\n".join(reversed(SMILES)))
    code = (
        "from sdl.library import Library\n"
        f"print(Library.model_validate_json({found.model_dump_json()!r}).from_unit(0.0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "not the file that the campaign began with" in done.stderr


def test_fingerprints_are_rdkits_packed_bit_by_bit(tmp_path: Path) -> None:
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator

    given = {"fingerprint": "structure", "radius": 3, "bits": 512}
    columns = {"name": list("abcde"), "structure": SMILES}
    found = library(tmp_path, columns, key="name", features=given)
    maker = rdFingerprintGenerator.GetMorganGenerator(radius=3, fpSize=512)
    molecules = [Chem.MolFromSmiles(text) for text in SMILES]
    expected = np.stack([maker.GetFingerprintAsNumPy(molecule) for molecule in molecules])
    packed = found.features_of([4, 0, 1])
    assert packed.dtype == np.uint8
    bits = np.unpackbits(packed, axis=1, bitorder="little")
    assert (bits == expected[[4, 0, 1]]).all()


def test_numbers_are_standardised_over_the_library_whatever_their_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "BATCH", 7)  # so that moments are merged
    rng = np.random.default_rng(1)
    numbers = rng.normal(size=(50, 3)) * [1e-12, 1.0, 1e12] + [0.0, 1e6, 0.0]
    columns = {"id": list(range(50)), "same": [3.0] * 50}
    columns |= {f"emb_{k}": numbers[:, k].tolist() for k in range(3)}
    found = library(tmp_path, columns, key="id", features=["emb_*", "same"])
    assert found.columns == ("emb_0", "emb_1", "emb_2", "same")
    chunks = np.concatenate([chunk.copy() for _, chunk in found.chunks(8)])
    expected = (numbers - numbers.mean(0)) / numbers.std(0)
    assert np.abs(chunks[:, :3] - expected).max() < 1e-5
    assert (chunks[:, 3] == 0.0).all()
    assert (found.features_of([3, 49]) == chunks[[3, 49]]).all()


def test_embeddings_are_read_from_parquet_one_list_a_row(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    vectors = np.random.default_rng(0).normal(size=(6, 4))
    parquet.write_table(
        arrow.table({"id": list(range(6)), "embedding": vectors.tolist()}), tmp_path / "e.parquet"
    )
    found = Library.model_validate(
        {"library": "e.parquet", "key": "id", "features": "embedding"}
    ).resolved(tmp_path)
    assert found.to_unit("4") == 4.0
    expected = (vectors - vectors.mean(0)) / vectors.std(0)
    assert np.allclose(found.features_of(range(6)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("columns", "given", "said"),
    [
        ({"id": ["a", "b", "a"], "x": [1, 2, 3]}, {}, "id 'a' is in row 1 .* and in row 3"),
        ({"id": ["a", "", "c"], "x": [1, 2, 3]}, {}, "row 2 .*: id is empty"),
        ({"id": ["a", "b", "c"], "x": [1, "", 3]}, {}, "row 2 .*: x is empty"),
        ({"id": ["a", "b", "c"], "x": [1, 2, "nan"]}, {}, "row 3 .*: x is no finite number: 'nan'"),
        ({"id": ["a", "b", "c"], "x": [1, "low", 3]}, {}, "row 2 .*: x is no finite number: 'low'"),
        (
            {"id": ["a", "b"], "x": [1, 2]},
            {"features": ["y"]},
            "no column 'y'; its columns are: id",
        ),
        ({"id": ["a", "b"], "x": [1, 2]}, {"key": "name"}, "no column 'name'"),
        ({"id": ["a"], "x": [1]}, {}, "1 rows; a library needs at least two"),
        (
            {"id": ["a", "b"], "s": ["CCO", "C(("]},
            {"features": {"fingerprint": "s"}},
            r"row 2 .*: s 'C\(\(' is no SMILES",
        ),
    ],
)
def test_what_is_wrong_with_a_library_is_said_by_row_and_column(
    tmp_path: Path, columns: dict[str, list[Any]], given: dict[str, Any], said: str
) -> None:
    name = written(tmp_path, columns)
    described = {"library": name, "key": "id", "features": "x"} | given
    with pytest.raises(ValueError, match=rf"rows\.csv.*{said}"):
        Library.model_validate(described).resolved(tmp_path).prepare()
    assert not list(store.cache().glob("part-*"))


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    described = {"key": "id", "features": "x"}
    (tmp_path / "short.csv").write_text("id,x\na,1\nb\n")
    (tmp_path / "bytes.csv").write_bytes(b"id,x\n\xff\xfe,1\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "rows.xlsx").write_text("")
    for name, said in {
        "short.csv": "row 2 .*1 cells under 2 column names",
        "bytes.csv": "not UTF-8",
        "empty.csv": "is empty",
        "rows.xlsx": "must end in one of .csv",
        "nowhere.csv": "cannot be read: No such file",
    }.items():
        with pytest.raises(ValueError, match=said):
            Library.model_validate({"library": name, **described}).resolved(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"features": []},
        {"features": 3},
        {"features": {"fingerprint": "s", "bits": 100}},
        {"key": ""},
    ],
)
def test_what_a_campaign_file_may_not_say(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"must be|must not be empty"):
        Library.model_validate({"library": "m.csv", "key": "s", "features": "x"} | wrong)


def test_a_half_written_cache_is_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"id": ["a", "b", "c"], "x": [1.0, 2.0, 4.0]}

    def power_fails(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store, "_to_disk", power_fails)
        patched.setattr(store.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            library(tmp_path, columns, key="id", features="x")
    (left,) = store.cache().iterdir()
    (left / "order.npy").write_bytes(b"")
    assert library(tmp_path, columns, key="id", features="x").to_unit("c") == 2.0


def test_two_processes_may_fill_the_cache_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"id": ["a", "b", "c"], "x": [1.0, 2.0, 4.0]}
    to_disk = store._to_disk

    def other_was_faster(part: Path) -> None:
        to_disk(part)
        monkeypatch.setattr(store, "_to_disk", to_disk)
        copy = store.cache() / "copy"
        store.shutil.copytree(part, copy)
        copy.rename(store.cache() / names[0])

    library(tmp_path, columns, key="id", features="x")
    names = [path.name for path in store.cache().iterdir()]
    store.shutil.rmtree(store.cache())
    store.keys.cache_clear()
    monkeypatch.setattr(store, "_to_disk", other_was_faster)
    assert library(tmp_path, columns, key="id", features="x").to_unit("b") == 1.0
    assert [path.name for path in store.cache().iterdir()] == names


def test_a_cache_that_was_cut_short_is_said_to_be_damaged(tmp_path: Path) -> None:
    columns = {"id": [str(i) for i in range(100)], "x": list(range(100))}
    found = library(tmp_path, columns, key="id", features="x")
    found.prepare()
    (path,) = store.cache().glob("*/features.npy")
    os.truncate(path, path.stat().st_size - 40)
    with pytest.raises(ValueError, match="delete its folder"):
        list(found.chunks(30))


def test_keys_of_the_same_hash_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_hash", lambda key: len(key))
    keys = ["aa", "bb", "c", "dd"]
    found = library(tmp_path, {"id": keys, "x": [1, 2, 3, 4]}, key="id", features="x")
    assert [found.to_unit(key) for key in keys] == [0.0, 1.0, 2.0, 3.0]
    assert found.check("ee") is not None
