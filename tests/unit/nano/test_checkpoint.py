"""What nano promises without being run."""

from deployments.model_files import find_model
from tests.nano.corpus.sentences import VOCABULARY, is_held_out
from tests.nano.recordings import kept
from tests.places import NANO as CHECKPOINT

FILES = ("speech_tokenizer_v2_25hz.onnx", "campplus.onnx", "flow.yaml", "flow.pt", "hift.pt")


def test_it_has_the_published_files_in_at_most_48_mb():
    files = find_model(str(CHECKPOINT))
    assert all((files.token2wav / name).is_file() for name in FILES)
    assert sum(path.stat().st_size for path in CHECKPOINT.rglob("*")) <= 48_000_000


def test_the_recordings_are_200_sentences_of_its_words_that_training_never_sees():
    sentences = [recording.sentence for recording in kept()]
    assert len(set(sentences)) == 200 and all(map(is_held_out, sentences))
    words = {word for s in sentences for word in s.lower().strip(".?").replace(",", "").split()}
    assert words <= VOCABULARY
    assert len(VOCABULARY) >= 500 and max(len(s.split()) for s in sentences) <= 12
