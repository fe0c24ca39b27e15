"""Every YAML under `configs/` is a valid Ray Serve file with valid arguments of ours."""

import pytest
import yaml
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as build
from ray.serve.schema import ServeDeploySchema

from deployments.errors import ConfigError
from deployments.model_files import ModelFiles, find_model
from deployments.token2wav.configured_voices import SHIPPED_VOICE, voice_files
from deployments.token2wav.token2wav_config import Token2WavConfig
from serve_app.app import app
from serve_app.config import AppConfig
from tests.places import CONFIGS

NAMES = sorted(path.name for path in CONFIGS.glob("*.yaml"))
SERVED = [*CONFIGS.glob("*.yaml"), *CONFIGS.parent.glob("cluster/rayservice-*.yaml")]


def arguments(name: str) -> dict:
    return yaml.safe_load((CONFIGS / name).read_text())["applications"][0]["args"]


def test_the_ways_of_running_are_there():
    gpu = {"single_gpu.yaml", "single_gpu_24gb.yaml", "two_gpus.yaml"}
    gpu |= {"four_gpus.yaml", "eight_gpus.yaml", "autoscaling.yaml"}
    assert gpu | {"two_gpus_tensor_parallel.yaml", "cpu.yaml", "asr_only.yaml"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_is_a_serve_file_whose_arguments_build_the_graph(name, monkeypatch):
    monkeypatch.setenv("STEP_AUDIO2_SPOKEN_TURN_KEYS", "a-key-of-16-or-more")
    schema = ServeDeploySchema.model_validate(yaml.safe_load((CONFIGS / name).read_text()))
    application = schema.applications[0]
    assert application.import_path == "serve_app.app:app"
    bound = build(app, application.args)
    assert bound._bound_deployment.name == "Ingress"


@pytest.mark.parametrize(("name", "gpus"), [("four_gpus.yaml", 4), ("eight_gpus.yaml", 8)])
def test_each_of_several_gpus_has_both_stages_as_a_single_one_has(name, gpus):
    document = yaml.safe_load((CONFIGS / name).read_text())
    single, several = arguments("single_gpu.yaml"), arguments(name)
    assert several["thinker"] == single["thinker"]
    assert several["token2wav"] == single["token2wav"]
    for stage in document["applications"][0]["deployments"]:
        assert (stage["num_replicas"], stage["max_replicas_per_node"]) == (gpus, 1)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ((), "modle"),
        (("thinker",), "engin"),
        (("token2wav", "chunks"), "stedy"),
        (("http",), "keys"),
    ],
)
def test_a_misspelt_key_is_refused_and_named(section, key):
    args = arguments("cpu.yaml")
    inner = args
    for name in section:
        inner = inner.setdefault(name, {})
    inner[key] = 1
    with pytest.raises(ConfigError) as refused:
        build(app, args)
    where = ".".join((*section, key))
    assert str(refused.value) == f"the configuration has an unknown key: {where}"


def test_a_wrong_value_is_refused_and_named():
    args = arguments("cpu.yaml")
    args["thinker"]["sampling"] = {"top_p": 2}
    with pytest.raises(ConfigError, match=r"thinker\.sampling\.top_p: .*less than or equal to 1"):
        build(app, args)


def test_an_alias_of_a_voice_that_is_not_configured_is_named():
    args = arguments("cpu.yaml")
    args.setdefault("token2wav", {})["voices"] = {"anna": "anna.wav"}
    args.setdefault("http", {})["voice_aliases"] = {"alloy": "anna", "ash": None, "echo": "ben"}
    with pytest.raises(ConfigError) as refused:
        build(app, args)
    assert str(refused.value) == (
        "the configuration's http.voice_aliases.echo names the voice 'ben'; "
        "configured are: default, anna"
    )


def test_an_api_key_that_cannot_be_used_is_named_and_not_repeated():
    args = arguments("cpu.yaml")
    for http, complaint in (
        ({"api_keys": {"an/na": "secret-key"}}, "http.api_keys.an/na has a name that is no name"),
        ({"api_keys": {"anna": "sha256:secret-key"}}, "http.api_keys.anna is no hash"),
        ({"api_keys": {"a": "secret-key", "b": "secret-key"}}, "a and b have the same API key"),
        ({"cors_origins": ["example.org"]}, "'example.org' is no origin"),
        ({"key_limits": {"streams": 1}}, "unknown key: http.key_limits.streams"),
    ):
        with pytest.raises(ConfigError) as refused:
            build(app, args | {"http": http})
        assert complaint in str(refused.value)
        assert "secret-key" not in str(refused.value) and "\n" not in str(refused.value)


def test_a_missing_model_directory_is_named():
    with pytest.raises(ConfigError, match=r"models/not-there"):
        find_model("./models/not-there")


def test_a_missing_model_file_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json"):
        ModelFiles(tmp_path).require()


def test_the_default_voice_is_the_first_that_there_is(tmp_path):
    files, wav = ModelFiles(tmp_path / "model"), tmp_path / "configured.wav"
    wav.touch()
    assert voice_files(Token2WavConfig(), files, {})["default"] == SHIPPED_VOICE
    own = tmp_path / "model" / "default_female.wav"
    own.parent.mkdir()
    own.touch()
    assert voice_files(Token2WavConfig(), files, {})["default"] == own
    asset = tmp_path / "model" / "assets" / "default_female.wav"
    asset.parent.mkdir()
    asset.touch()
    assert voice_files(Token2WavConfig(), files, {})["default"] == asset
    variable = {"STEP_AUDIO2_DEFAULT_PROMPT_WAV": str(wav)}
    assert voice_files(Token2WavConfig(), files, variable)["default"] == wav
    config = Token2WavConfig(default_voice=str(asset))
    assert voice_files(config, files, variable)["default"] == asset


@pytest.mark.parametrize(
    "config", [{"default_voice": "gone.wav"}, {"voices": {"anna": "gone.wav"}}]
)
def test_a_voice_that_is_not_there_is_named(config, tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.wav"):
        voice_files(Token2WavConfig.model_validate(config), ModelFiles(tmp_path), {})


@pytest.mark.parametrize(
    "options",
    [
        {"num_replicas": 2},
        {"num_replicas": "auto"},
        {"autoscaling_config": {"min_replicas": 1, "max_replicas": 3}},
        {"num_replicas": "auto", "autoscaling_config": {"min_replicas": 1}},
    ],
)
def test_several_ingress_replicas_need_a_common_key_and_a_common_store(options, tmp_path):
    args = arguments("cpu.yaml") | {"ingress_deployment_config": options}
    shared = {"spoken_turns_folder": str(tmp_path)}
    keys = {"spoken_turn_keys": ["k" * 32]}
    for http, missing in (
        ({}, "a common key"),
        (shared, "a common key"),
        (keys, "a common store"),
        ({"spoken_turn_keys_file": "/run/secrets/keys"}, "a common store"),
    ):
        with pytest.raises(ConfigError, match=f"replicas of the ingress need {missing}"):
            AppConfig.model_validate(args | {"http": http})
    assert AppConfig.model_validate(args | {"http": shared | keys})


def test_the_common_key_may_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("STEP_AUDIO2_SPOKEN_TURN_KEYS", "k" * 32)
    assert AppConfig.model_validate(
        arguments("cpu.yaml")
        | {
            "ingress_deployment_config": {"num_replicas": 3},
            "http": {"spoken_turns_folder": str(tmp_path)},
        }
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_replicas": 1},
        {"autoscaling_config": {"min_replicas": 1}},
        {"num_replicas": "auto", "autoscaling_config": {"max_replicas": 1}},
    ],
)
def test_one_ingress_may_be_configured(options):
    build(app, arguments("cpu.yaml") | {"ingress_deployment_config": options})


def test_the_model_has_no_default_in_the_arguments():
    with pytest.raises(ConfigError, match="lacks a key: model"):
        AppConfig.model_validate({})


@pytest.mark.parametrize("path", SERVED, ids=lambda path: path.stem)
def test_what_serves_has_the_models_own_weights_and_answers(path):
    for forced in ("forced_speech", "logits_processors", "load_format", "speaking"):
        assert forced not in path.read_text()


def test_a_voice_store_that_cannot_be_opened_is_refused_at_start():
    AppConfig.model_validate({"model": "none", "voice_store": "memory://voices"})
    for store, reason in (("voices", "a path from / or ~"), ("none://voices", "Protocol")):
        with pytest.raises(ConfigError, match=f"voice_store '{store}'.*{reason}"):
            AppConfig.model_validate({"model": "none", "voice_store": store})


def test_only_configurations_of_one_machine_keep_voices_in_a_user_s_folder():
    keep = {name for name in NAMES if "voice_store" in arguments(name)}
    assert keep == set(NAMES) - {"two_gpus.yaml", "asr_only.yaml"}
