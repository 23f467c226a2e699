"""The tokenizer of multilingual-e5-small: unigram pieces between <s> and </s>."""

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from infra.e5.weights import Weights

# U+0001 is removed by the normaliser, so no text can ever spell a control piece: without it a document
# holding "</s>" would put a real end-of-text id into its own vector.
CONTROL_PIECES = {"<s>", "<pad>", "</s>", "<unk>", "<mask>"}
BEGIN, END, UNKNOWN = "\x01<s>", "\x01</s>", "\x01<unk>"
SPACES = "[\\t\\n\\f\\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]"
CONTROLS = "[\\x01-\\x08\\x0b\\x0e-\\x1f\\x7f\\x8f\\x9f]"


def tokenizer(weights: Weights) -> Tokenizer:
    vocabulary = [("\x01" + piece if piece in CONTROL_PIECES else piece, score) for piece, score in weights.pieces]
    ids = {piece: number for number, (piece, _) in enumerate(vocabulary[:4])}
    built = Tokenizer(models.Unigram(vocabulary, unk_id=ids[UNKNOWN]))
    built.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(CONTROLS), ""),
            normalizers.Replace(Regex(SPACES), " "),
            normalizers.NFKC(),  # also joins Hangul that arrives as separate letters (files made on macOS)
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    built.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    built.post_processor = processors.TemplateProcessing(
        single=[BEGIN, "$A", END], special_tokens=[(BEGIN, ids[BEGIN]), (END, ids[END])]
    )
    return built
