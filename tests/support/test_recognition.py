"""Files that are not what they are taken for: what they are, and what to do."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pytest
import zstandard

import inrv
from inrv.container import container_bytes
from inrv.files.vdb import read_volume
from testing.examples import one_leaf

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a2146" * 8 + b"\nsize 12345\n"
)


def zipped(data: bytes) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("fog.vdb", data)
    return memory.getvalue()


DATA = b"volume" * 99
STRANGE = {
    "pointer": (POINTER, "a pointer of Git LFS", "git lfs pull"),
    "gzip": (gzip.compress(DATA), "compressed by gzip", "gunzip"),
    "zip": (zipped(DATA), "a ZIP archive", "unzip"),
    "zstd": (zstandard.compress(DATA), "compressed by Zstandard", "unzstd"),
    "bzip2": (bz2.compress(DATA), "compressed by bzip2", "bunzip2"),
    "xz": (lzma.compress(DATA), "compressed by xz", "unxz"),
    "page": (
        b"\xef\xbb\xbf\r\n<!DOCTYPE html><html><body>404",
        "a page of HTML or XML",
        "download it anew",
    ),
    "error of a bucket": (
        b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>',
        "a page of HTML or XML",
        "download",
    ),
    "NanoVDB": (b"NanoVDB0" + DATA, "a NanoVDB file", "encode it first"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_file_is_named_with_its_cure(name: str, tmp_path: Path) -> None:
    data, kind, cure = STRANGE[name]
    path = tmp_path / "file"
    path.write_bytes(data)
    for take, expected in ((read_volume, "a .vdb file"), (inrv.load, "an .inrv file")):
        with pytest.raises((inrv.VdbError, inrv.FormatError)) as caught:
            take(path)
        told = str(caught.value)
        assert (
            told.startswith(f"{path}: is {kind}, ")
            and f", not {expected}: " in told
            and cure in told
            and "\n" not in told
        )


def test_each_of_the_two_formats_is_recognised_in_place_of_the_other(
    fixtures: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        inrv.FormatError, match=r"tiles\.vdb: is a \.vdb file, not an \.inrv file: encode it first"
    ):
        inrv.load(fixtures / "tiles.vdb")
    (tmp_path / "a.vdb").write_bytes(container_bytes(*one_leaf()))
    with pytest.raises(
        inrv.VdbError, match=r"a\.vdb: is an \.inrv file, not a \.vdb file: decode it first"
    ):
        read_volume(tmp_path / "a.vdb")


def test_an_empty_file_and_noise(tmp_path: Path) -> None:
    for data, words in (
        (b"", "is empty: not a .vdb file"),
        (b"noise, noise", "starts with b'noise, n': not a .vdb file"),
    ):
        (tmp_path / "a.vdb").write_bytes(data)
        with pytest.raises(inrv.VdbError, match=words):
            read_volume(tmp_path / "a.vdb")
