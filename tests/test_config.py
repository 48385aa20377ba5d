from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from geomind.config import DirectorConfig, ExpertConfig, HierarchicalConfig, load_config, to_yaml
from geomind.errors import ConfigError


def test_the_later_wins(tmp_path: Path) -> None:
    yaml = tmp_path / "c.yaml"
    yaml.write_text("batch_size: 7\nlearning_rate: 5e-4\nbackbone: {weights: none}\n")
    config = load_config(DirectorConfig, yaml, ["batch_size=9"])
    assert (config.batch_size, config.learning_rate, config.backbone.weights) == (9, 5e-4, "none")
    assert config.max_epochs == DirectorConfig().max_epochs


def test_settings_are_written_whole_and_read_back(tmp_path: Path) -> None:
    config = load_config(ExpertConfig, None, ["loss=mse", "augment.horizontal_flip=true"])
    yaml = tmp_path / "c.yaml"
    yaml.write_text(to_yaml(config))
    assert load_config(ExpertConfig, yaml) == config


def test_yaml_is_1_2(tmp_path: Path) -> None:
    """YAML 1.1 read `weights: no` as False and `1e-4` as text."""
    yaml = tmp_path / "c.yaml"
    yaml.write_text("weight_decay: 1e-4\nbackbone:\n  weights: no\n")
    config = load_config(DirectorConfig, yaml)
    assert config.weight_decay == 1e-4
    assert config.backbone.weights == "no"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("learn_rate=1", "Did you mean 'learning_rate'"),
        ("weights=none", "Did you mean 'backbone.weights'"),
        ("backbone.nam=x", "Did you mean 'backbone.name'"),
        ("batch_size=0", "greater than or equal to 1"),
        ("batch_size=many", "'batch_size' in --set is 'many'"),
        ("seed.x=1", "Setting 'seed'"),
        ("justakey", "key=value"),
        ("seed=[1", "not valid YAML"),
    ],
)
def test_a_bad_setting_is_named(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load_config(DirectorConfig, None, [override])
    assert "\n" not in str(caught.value)


def test_a_value_cannot_become_a_group() -> None:
    with pytest.raises(ConfigError, match="'seed' is a value"):
        load_config(DirectorConfig, None, ["seed=1", "seed.x=1"])


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "just text\n", "a: [\n"])
def test_a_file_without_settings_is_refused(tmp_path: Path, text: str) -> None:
    yaml = tmp_path / "c.yaml"
    yaml.write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load_config(DirectorConfig, yaml)
    with pytest.raises(ConfigError, match="Cannot read"):
        load_config(DirectorConfig, tmp_path / "none.yaml")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        DirectorConfig().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["levels={}"], "levels needs at least one level"),
        (["levels={country: 8, city: 4}"], "each as many cells as the one above or more"),
        (["levels={country: 0, city: 4}"], "at least one level"),
        (["levels={village: 8}"], "village"),
        (
            ["levels={country: 2, city: 4}", "level_weights={country: 1}"],
            "level_weights says nothing of the level city",
        ),
        (["level_weights={country: -1, region: 0, city: 1}"], "a level's weight is 0 or more"),
        (["select=accuracy"], "no one accuracy; select its best epoch by loss or geoscore"),
        (["cells.min_photos=0"], "min_photos"),
        (["tree=clusters"], "administrative"),
    ],
)
def test_a_hierarchy_that_contradicts_itself_is_one_line(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as refused:
        load_config(HierarchicalConfig, None, overrides)
    assert "\n" not in str(refused.value)
