"""Weights and training states survive a round trip; damaged and foreign files are rejected."""

import dataclasses
import hashlib
import json
import os
import pickle
import resource
import runpy

import pytest
import safetensors.torch
import torch
from conftest import ROOT

from bev_instseg import checkpoint, model_files
from bev_instseg import config as config_module
from bev_instseg.checkpoint import (
    FORMAT,
    load_model,
    load_state,
    save_state,
    save_weights,
    save_with_config,
)
from bev_instseg.config import ClusterConfig, Config
from bev_instseg.config_files import config_to_dict
from bev_instseg.exceptions import CheckpointError
from bev_instseg.model_files import pretrained_weights
from bev_instseg.models.network import BEVNet


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(3)
    model = BEVNet(tiny_config)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.dtype == torch.float32:
                value.add_(torch.rand_like(value))  # including running moments
    return model


@pytest.fixture
def weights_file(tmp_path, model, tiny_config):
    path = tmp_path / "net.safetensors"
    save_weights(path, model, tiny_config, {"trained_steps": 12})
    return path


@pytest.fixture
def state_file(tmp_path, model, tiny_config):
    path = tmp_path / "net.pt"
    save_state(path, {"config": config_to_dict(tiny_config), "model": model.state_dict()})
    return path


def assert_same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_weights_from_before_the_levels_were_a_setting_can_be_read(
    tmp_path, model, tiny_config, weights_file
):
    """Two levels were sparse, and the layers of the second had names of their own."""
    sidecar = json.loads(weights_file.with_suffix(".json").read_text())
    del sidecar["config"]["model"]["dense_levels"], sidecar["network_sha256"]
    old = {}
    for name, value in model.state_dict().items():
        name = name.replace("sparse_up.0.quarters.", "to_middle.")
        old[name.replace("sparse_up.0.merge.", "merge_middle.")] = value
    assert old.keys() != model.state_dict().keys()
    path = tmp_path / "old.safetensors"
    path.write_bytes(safetensors.torch.save(contiguous(old)))
    sidecar["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(sidecar))
    loaded, config, _ = load_model(path)
    assert config.model.sparse_levels == 2
    assert_same_weights(loaded, model)


def contiguous(weights):
    return {name: value.contiguous() for name, value in weights.items()}


def assert_rejected(load, path, *words):
    """Check that loading fails with one line that starts with the file and contains the words."""
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path.with_suffix(""))), message
    assert "\n" not in message
    for word in words:
        assert word in message


# Round trips


def test_state_round_trip(tmp_path):
    state = {
        "step": 7,
        "best": -float("inf"),
        "rows": [{"step": 1, "loss": 0.1, "empty": None}],
        "tensors": {
            "channels_last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
            "bytes": torch.arange(9, dtype=torch.uint8),
            "none": torch.zeros(0),
        },
        "text": "ä",
    }
    path = tmp_path / "state.pt"
    save_state(path, state)
    again = load_state(path)
    tensors, same = state.pop("tensors"), again.pop("tensors")
    assert again == state
    for name, value in tensors.items():
        assert torch.equal(same[name], value)
        assert same[name].stride() == value.stride()
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


def test_weights_round_trip_in_both_formats(weights_file, state_file, model, tiny_config):
    for path in (weights_file, state_file):
        again, config, _ = load_model(path)
        assert config == tiny_config
        assert not again.training
        assert_same_weights(again, model)
    assert load_model(weights_file)[2] == load_model(state_file)[2] != ""


def test_sidecar_describes_the_weights(weights_file, tiny_config):
    sidecar = json.loads(weights_file.with_suffix(".json").read_text())
    assert sidecar["class_names"] == ["vehicle", "pedestrian", "cyclist"]
    assert sidecar["trained_steps"] == 12
    assert sidecar["config"] == config_to_dict(tiny_config)
    assert sidecar["sha256"] == load_model(weights_file)[2]
    assert len(sidecar["sha256"]) == 64


def test_different_weights_have_a_different_hash(
    weights_file, state_file, model, tiny_config, tmp_path
):
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    save_weights(tmp_path / "other.safetensors", model, tiny_config, {})
    assert load_model(tmp_path / "other.safetensors")[2] != load_model(weights_file)[2]


def test_configuration_of_weights_can_be_replaced(
    weights_file, state_file, model, tiny_config, tmp_path
):
    other = dataclasses.replace(tiny_config, cluster=ClusterConfig(seed_threshold=0.31))
    for source, about in ((weights_file, {"trained_steps": 12}), (state_file, {})):
        target = tmp_path / f"{source.suffix[1:]}.safetensors"
        save_with_config(source, target, other)
        again, config, _ = load_model(target)
        assert config == other
        for name, value in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], value)
        sidecar = json.loads(target.with_suffix(".json").read_bytes())
        assert {key: sidecar[key] for key in about} == about
    model_config = dataclasses.replace(tiny_config.model, bandwidth="scalar")
    wrong = dataclasses.replace(tiny_config, model=model_config)
    with pytest.raises(ValueError, match="fixed by the weights"):
        save_with_config(weights_file, tmp_path / "never.safetensors", wrong)
    assert not (tmp_path / "never.safetensors").exists()


def test_default_weights_are_in_the_package():
    assert pretrained_weights().parent.name == "weights"
    assert pretrained_weights().suffix == ".safetensors"


# Damage


@pytest.mark.parametrize("part", [0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999])
def test_a_flipped_byte_in_the_weights_is_detected(weights_file, part):
    data = bytearray(weights_file.read_bytes())
    data[int(part * len(data))] ^= 0x10
    weights_file.write_bytes(data)
    assert_rejected(load_model, weights_file, "damaged", "net.json")


def test_a_flipped_byte_in_a_state_is_detected_or_harmless(state_file, model):
    """Changes of what the hash covers are always found; the archive around it has spare bytes."""
    data = state_file.read_bytes()
    detected = 0
    places = range(0, len(data), max(len(data) // 60, 1))
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 0x01
        state_file.write_bytes(flipped)
        try:
            state = load_state(state_file)
        except CheckpointError:
            detected += 1
            assert_rejected(load_state, state_file)
        else:
            for name, value in model.state_dict().items():
                assert torch.equal(state["model"][name], value)
    assert detected > 0.9 * len(places)


@pytest.mark.parametrize("share", [0, 0.3, 0.7, 0.999])
def test_a_truncated_file_is_rejected(weights_file, state_file, share):
    for load, path in ((load_model, weights_file), (load_model, state_file)):
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])
        assert_rejected(load, path, "damaged")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 100, b'{"a": 1}'])
def test_a_foreign_file_is_rejected(weights_file, state_file, content):
    weights_file.write_bytes(content)
    assert_rejected(load_model, weights_file, "damaged")
    state_file.write_bytes(content)
    assert_rejected(load_model, state_file, "not a bev-instseg checkpoint")
    weights_file.with_suffix(".json").write_bytes(content)
    assert_rejected(load_model, weights_file, "not written by bev-instseg, or damaged")


def test_a_plain_torch_file_is_rejected(tmp_path, model):
    path = tmp_path / "plain.pt"
    torch.save(model.state_dict(), path)
    assert_rejected(load_model, path, "not a bev-instseg checkpoint")
    torch.save([1, 2], path)
    assert_rejected(load_model, path, "not a bev-instseg checkpoint")


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_only_plain_values_are_unpickled(tmp_path):
    path = tmp_path / "trap.pt"
    torch.save(Trap(), path)
    assert_rejected(load_state, path)
    path.write_bytes(pickle.dumps(Trap(), protocol=2))
    assert_rejected(load_state, path)
    save_state(path, {"model": Trap()})  # the trap inside an intact file
    assert_rejected(load_state, path)


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_a_missing_file_is_reported(tmp_path, name):
    assert_rejected(load_model, tmp_path / name, "cannot be read", "No such file", name)


def test_a_missing_sidecar_is_reported(weights_file):
    weights_file.with_suffix(".json").unlink()
    assert_rejected(load_model, weights_file, "cannot be read", "net.json", "No such file")


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_a_folder_is_rejected(tmp_path, name):
    (tmp_path / name).mkdir()
    assert_rejected(load_model, tmp_path / name, "cannot be read")


@pytest.mark.parametrize("key", ["sha256", "format", "config"])
def test_a_sidecar_without_a_key_is_rejected(weights_file, key):
    path = weights_file.with_suffix(".json")
    sidecar = json.loads(path.read_text())
    del sidecar[key]
    path.write_text(json.dumps(sidecar))
    assert_rejected(load_model, weights_file, "not written by bev-instseg, or damaged")


def test_settings_of_another_network_are_rejected(weights_file):
    path = weights_file.with_suffix(".json")
    sidecar = json.loads(path.read_text())
    sidecar["config"]["cluster"]["seed_threshold"] = 0.3  # no matter
    path.write_text(json.dumps(sidecar))
    assert load_model(weights_file)[1].cluster.seed_threshold == 0.3
    sidecar["config"]["grid"]["cell_m"] *= 2
    path.write_text(json.dumps(sidecar))
    assert_rejected(load_model, weights_file, "grid.cell_m or number of classes were changed")


def test_a_different_format_is_rejected(weights_file, state_file, monkeypatch, model, tiny_config):
    for module in (checkpoint, model_files):
        monkeypatch.setattr(module, "FORMAT", "bev_instseg/99")
    assert_rejected(load_model, weights_file, "format bev_instseg/1, expected bev_instseg/99")
    assert_rejected(load_model, state_file, "format bev_instseg/1, expected bev_instseg/99")


@pytest.mark.parametrize("key", ["config", "model"])
def test_a_state_without_a_key_is_rejected(state_file, key):
    state = load_state(state_file)
    del state[key]
    save_state(state_file, state)
    assert_rejected(load_model, state_file)


def test_weights_of_a_different_network_are_rejected(tmp_path, model, tiny_config, state_file):
    wider = dataclasses.replace(
        tiny_config, model=dataclasses.replace(tiny_config.model, widths=(8, 8, 16))
    )
    save_weights(tmp_path / "wide.safetensors", model, wider, {})
    assert_rejected(load_model, tmp_path / "wide.safetensors", "do not fit its configuration")
    state = load_state(state_file)
    state["model"].popitem()
    save_state(state_file, state)
    assert_rejected(load_model, state_file, "do not fit its configuration")


def test_a_configuration_of_a_later_version_is_rejected(tmp_path, model):
    tree = config_to_dict(Config()) | {"magic": 1}
    save_state(tmp_path / "net.pt", {"config": tree, "model": model.state_dict()})
    assert_rejected(load_model, tmp_path / "net.pt", "unknown key 'magic'")


def test_a_state_that_is_not_a_mapping_is_rejected(tmp_path):
    save_state(tmp_path / "net.pt", [1, 2])  # type: ignore[arg-type]
    assert_rejected(load_state, tmp_path / "net.pt", "not a bev-instseg checkpoint")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_no_network_is_built_for_weights_of_different_shapes(
    tmp_path, model, tiny_config, monkeypatch, suffix
):
    """The network of the configuration would take 7 GB."""
    monkeypatch.setattr(config_module, "machine_bytes", lambda: 10**15)
    huge = dataclasses.replace(tiny_config.model, widths=(4096, 4096, 4096))
    config = dataclasses.replace(tiny_config, model=huge)
    path = tmp_path / f"net{suffix}"
    if suffix == ".pt":
        save_state(path, {"config": config_to_dict(config), "model": model.state_dict()})
    else:
        save_weights(path, model, config, {})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert_rejected(load_model, path, "do not fit its configuration")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes


def test_a_byte_that_claims_to_be_terabytes_is_rejected(tmp_path):
    body = torch.zeros(1, dtype=torch.uint8).expand(10**13)
    torch.save({"format": FORMAT, "sha256": "", "body": body}, tmp_path / "net.pt")
    assert_rejected(load_state, tmp_path / "net.pt", "not a bev-instseg checkpoint")


def test_a_deeply_nested_sidecar_is_rejected(weights_file):
    weights_file.with_suffix(".json").write_text("[" * 100_000)
    assert_rejected(load_model, weights_file, "not written by bev-instseg, or damaged")


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_a_pipe_is_rejected(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert_rejected(load_model, tmp_path / name, "cannot be read (not a regular file)")


def test_a_link_to_itself_is_rejected(tmp_path):
    (tmp_path / "net.pt").symlink_to("net.pt")
    assert_rejected(load_model, tmp_path / "net.pt", "cannot be read")


# Writing


def test_a_failed_write_leaves_only_the_old_file(state_file, monkeypatch):
    before = state_file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left") as caught:
            save_state(state_file, {"step": 1})
        assert str(state_file) in str(caught.value)
    assert state_file.read_bytes() == before
    assert [path.name for path in state_file.parent.iterdir()] == ["net.pt"]
    load_state(state_file)


def test_writing_replaces_a_file(state_file):
    save_state(state_file, {"step": 1})
    assert load_state(state_file) == {"step": 1}
    assert [path.name for path in state_file.parent.iterdir()] == ["net.pt"]


def test_weights_of_other_classes_are_not_averaged(
    tmp_path, weights_file, model, tiny_config, monkeypatch, capsys
):
    script = runpy.run_path(str(ROOT / "scripts" / "average_weights.py"))["main"]
    vehicle, *others = tiny_config.classes
    other = tmp_path / "other.safetensors"
    config = dataclasses.replace(tiny_config, classes=(*others, vehicle))
    save_weights(other, model, config, {})
    mean = tmp_path / "mean.safetensors"
    command = ["average_weights", "--out", str(mean), str(weights_file)]
    monkeypatch.setattr("sys.argv", [*command, str(other)])
    with pytest.raises(SystemExit, match="2"):
        script()
    assert "use weights with the same classes in the same order" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", [*command, str(weights_file)])
    script()
    assert mean.exists()
