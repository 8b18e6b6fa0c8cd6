"""Large JSON objects: equal entries for all windows, errors with the position of broken text."""

import io
import json

import pytest

from pid.gqa import json_stream


def read_entries(text, encoding="utf-8"):
    return list(json_stream.entries(io.BytesIO(text.encode(encoding)), "a.json"))


@pytest.mark.parametrize("window", [1, 2, 7, 1 << 20])
def test_entries_are_those_of_the_whole_object_whatever_the_window(window, monkeypatch):
    monkeypatch.setattr(json_stream, "WINDOW", window)
    rows = {"a": {"b": [1, "}, {é"]}, 'c"\\': {}, "ß": {"d": None}}
    for text in (json.dumps(rows), json.dumps(rows, indent=2, ensure_ascii=False) + "\n"):
        assert read_entries(text) == list(rows.items())
    assert read_entries(" {\n} ") == []
    assert read_entries('{"a": {}, "a": {}}') == [("a", {}), ("a", {})]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "character 0 is not: { expected, got the end"),
        ("[]", "character 0 is not: { expected, got ["),
        ('{"a": {}', "character 8 is not: , or } expected, got the end"),
        ('{"a": {} "b": {}}', 'character 9 is not: , or } expected, got "'),
        ('{"a" {}}', "character 5 is not: : expected, got {"),
        ('{"a": {"b": }}', "character 12 is not: Expecting value"),
        ('{"a": {}, 3: {}}', "character 10 is not: a text expected, got 3"),
        ('{"a": {}} {', "character 10 is not: it ends, but '{' follows"),
        ('{"a": {}, }', "character 10 is not: Expecting value"),
    ],
)
def test_broken_json_is_refused_with_the_file_and_the_position(text, words, monkeypatch):
    for window in (3, 1 << 20):
        monkeypatch.setattr(json_stream, "WINDOW", window)
        with pytest.raises(
            ValueError, match="^a.json must be one JSON object.*download or extract it again"
        ) as error:
            read_entries(text)
        assert words in str(error.value)


def test_text_in_another_encoding_is_refused():
    with pytest.raises(ValueError, match="character 0 is not: it cannot be read further"):
        read_entries('{"é": {}}', "latin-1")
    with pytest.raises(ValueError, match="character 9 is not: it cannot be read further"):
        read_entries('{"a": {}}é', "latin-1")


def test_a_broken_value_does_not_pull_the_rest_of_the_file_into_memory(monkeypatch):
    monkeypatch.setattr(json_stream, "WINDOW", 10)
    monkeypatch.setattr(json_stream, "MAX_VALUE", 100)
    file = io.BytesIO(b'{"a": {"b": x ' + b" " * 10_000)
    with pytest.raises(ValueError, match="character 12"):
        list(json_stream.entries(file, "a.json"))
    assert file.tell() < 200
