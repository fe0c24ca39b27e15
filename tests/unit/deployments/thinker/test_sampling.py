import json

import pytest

from deployments.errors import ConfigError
from deployments.thinker.sampling import Sampling, sampling_of
from deployments.thinker.thinker_config import SamplingDefaults


@pytest.fixture
def checkpoint(tmp_path):
    def write(**generation):
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
        return tmp_path

    return write


def test_the_checkpoint_says_what_the_configuration_does_not(checkpoint):
    model = checkpoint(temperature=0.3, top_p=0.5, max_new_tokens=77, eos_token_id=[1, 2])
    assert sampling_of(SamplingDefaults(), model) == Sampling(0.3, 0.5, 1.05, 77)
    chosen = SamplingDefaults(temperature=0.0, max_tokens=9)
    assert sampling_of(chosen, model) == Sampling(0.0, 0.5, 1.05, 9)


def test_a_checkpoint_that_does_not_sample_is_greedy(checkpoint):
    model = checkpoint(do_sample=False, temperature=0.7)
    assert sampling_of(SamplingDefaults(), model).temperature == 0.0


def test_without_the_file_the_published_settings_hold(tmp_path):
    assert sampling_of(SamplingDefaults(), tmp_path) == Sampling(0.7, 0.9, 1.05, 1024)


@pytest.mark.parametrize("content", ["{", "[]", '{"temperature": -1}', '{"top_p": "high"}'])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "generation_config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"generation_config\.json"):
        sampling_of(SamplingDefaults(), tmp_path)
