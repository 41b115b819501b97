"""What is known of operators and of inputs' names, and the bits that say what a tensor is made from."""

from __future__ import annotations

from typing import Final

from .text import words


class Made:
    """What a tensor depends on, as bits; 0 is a constant, or something that only shapes decide.

    The first five are data, the next six control: what a comparison gives, and what a tokeniser hands over. A tensor
    is one or the other, for where the two meet a rule allows it and the result is data, or there is an alarm.
    """

    RAW: Final = 1  # the picture, through no learned layer
    CUT: Final = 2  # chosen places of the picture
    WORD: Final = 4  # rows of a table, one a token
    FEATURE: Final = 8  # through a learned layer
    CLASSIC: Final = 16  # what a tree, a support vector machine or the like says
    RAW_TEST: Final = 32  # a decision on the picture
    FEATURE_TEST: Final = 64  # a decision on features
    IDS: Final = 128  # token ids as they were given
    SUM_OF_IDS: Final = 256  # arithmetic on token ids
    ID_TEST: Final = 512  # a decision on token ids
    GIVEN: Final = 1024  # masks, positions and segments, or what was made from them
    WHOLE: Final = 2048  # no longer one a token, or one a number: taken over several
    RUNNING: Final = 4096  # a running sum over the tokens
    RANDOM: Final = 8192


NOTHING = 0
DATA = Made.RAW | Made.CUT | Made.WORD | Made.FEATURE | Made.CLASSIC
UNSEEN = Made.RAW | Made.CUT  # by any layer
CONTROL = Made.RAW_TEST | Made.FEATURE_TEST | Made.IDS | Made.SUM_OF_IDS | Made.ID_TEST | Made.GIVEN
OF_TOKENS = Made.IDS | Made.SUM_OF_IDS | Made.ID_TEST | Made.GIVEN

DOMAINS = words("ai.onnx.ml com.microsoft com.microsoft.nchwc com.ms.internal.nhwc") | {""}
PREVIEW = "ai.onnx.preview"

RANDOM = words("RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial")
ONLY_SHAPE = words("Shape Size")
COMPARES = words(
    "Equal Less Greater LessOrEqual GreaterOrEqual And Or Xor Not ArgMax ArgMin NonZero OneHot Hardmax Sign IsInf "
    "IsNaN Mod NonMaxSuppression Unique Compress Binarizer LabelEncoder BitwiseAnd BitwiseOr BitwiseXor BitwiseNot"
)
SECOND_COMPARES = words("TopK MaxPool Unique")  # their first result is data
OVER_SEVERAL = words(
    "ReduceMax ReduceMin ReduceSum ReduceMean ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp "
    "ReduceSumSquare ArgMax ArgMin MatMul Gemm Conv AveragePool MaxPool GlobalAveragePool GlobalMaxPool TopK NonZero "
    "Einsum Compress Unique Size LpPool GlobalLpPool"
)
POOLS = words(
    "ReduceSum ReduceMean ReduceMax ReduceLogSumExp AveragePool GlobalAveragePool GlobalMaxPool MaxPool ReduceL2"
)
VIEWS = words(
    "Identity Cast CastLike Reshape Flatten Squeeze Unsqueeze Transpose Slice Split Concat Expand Tile Gather "
    "GatherElements GatherND Pad OneHot Dropout ReverseSequence QuantizeLinear DequantizeLinear #carry"
)
CHOOSES_PLACES = words("Slice Split Gather GatherElements GatherND Compress")
ONE_BY_ONE = words(
    "Identity Cast CastLike Add Sub Mul Div Neg Abs Sqrt Exp Log Erf Tanh Sigmoid Relu LeakyRelu PRelu Elu Selu Celu "
    "ThresholdedRelu HardSigmoid HardSwish Softplus Softsign Mish Gelu Swish Clip Min Max Pow Sign Reciprocal Round "
    "Floor Ceil Where Equal Less Greater LessOrEqual GreaterOrEqual Not And Or Xor IsNaN IsInf Sin Cos Atan "
    "QuickGelu FastGelu BiasGelu QuantizeLinear DequantizeLinear"
)
SHAPED_BY = {  # op -> from which input on an input says what shape the result has, or which part is taken
    "Reshape": 1,
    "Expand": 1,
    "Tile": 1,
    "Slice": 1,
    "Pad": 1,
    "Resize": 1,
    "ConstantOfShape": 0,
    "Range": 0,
    "TopK": 1,
    "Split": 1,
    "NonZero": 0,
    "Compress": 0,
    "Unique": 0,
    "NonMaxSuppression": 0,
}
LAYERS: dict[str, tuple[int, ...]] = {  # op -> where its weights are; what is learned lies in them
    "Conv": (1,),
    "ConvTranspose": (1,),
    "ConvInteger": (1,),
    "DeformConv": (1,),
    "DynamicQuantizeMatMul": (1,),
    "Einsum": (1,),
    "FusedConv": (1,),
    "FusedGemm": (1,),
    "FusedMatMul": (1,),
    "GRU": (1, 2),
    "Gemm": (1,),
    "LSTM": (1, 2),
    "MatMul": (1,),
    "MatMulBnb4": (1,),
    "MatMulInteger": (1,),
    "MatMulIntegerToFloat": (1,),
    "MatMulNBits": (1,),
    "QAttention": (1,),
    "QGemm": (3,),
    "QLinearConv": (3,),
    "QLinearMatMul": (3,),
    "RNN": (1, 2),
    "DynamicQuantizeLSTM": (1, 2),
    "NhwcConv": (1,),
}
CLASSIC = words(
    "LinearClassifier LinearRegressor SVMClassifier SVMRegressor TreeEnsemble TreeEnsembleClassifier "
    "TreeEnsembleRegressor"
)
EITHER_SIDE = words("MatMul Gemm FusedMatMul FusedGemm MatMulInteger")
LABEL_FIRST = words("LinearClassifier SVMClassifier TreeEnsembleClassifier")
RECURRENT = words("LSTM GRU RNN DynamicQuantizeLSTM")
FUSED_ATTENTION = words(
    "Attention QAttention MultiHeadAttention DecoderMaskedMultiHeadAttention GroupQueryAttention PackedAttention "
    "RotaryEmbedding"
)
SOFTMAX = words("Softmax LogSoftmax Attention QAttention MultiHeadAttention GroupQueryAttention")
STRAIGHT = words(  # between a layer and the sum of two heads; products only with a single number
    "Identity Cast Reshape Flatten Squeeze Unsqueeze Transpose Dropout QuantizeLinear DequantizeLinear Add Sub Mul Div "
    "Softmax LogSoftmax Sigmoid GlobalAveragePool AveragePool ReduceMean ReduceMax BatchNormalization Mean Sum Relu"
)
JOINS_SCORES = words("Add Sum Mean Concat Max")
FUSED_TABLES = words("EmbedLayerNormalization QEmbedLayerNormalization")
QUANTISED = {  # com.microsoft's name -> that of the operator it does on whole numbers
    f"QLinear{name}": name
    for name in words("Add Mul Sigmoid LeakyRelu Concat Softmax GlobalAveragePool AveragePool ReduceMean Where")
}
FUSED = FUSED_ATTENTION | FUSED_TABLES | RECURRENT | {"QuickGelu", "FastGelu", "BiasGelu", *LAYERS, *QUANTISED}

_IDS = words("input_ids inputids input_word_ids token_ids tokens ids src_tokens decoder_input_ids")
_MASKS = words(
    "attention_mask attentionmask input_mask mask padding_mask pixel_mask pixel_attention_mask decoder_attention_mask "
    "mask_index bool_masked_pos"
)
_GIVEN = words("token_type_ids segment_ids input_type_ids token_types position_ids positions bbox")
_ROWS = words("inputs_embeds hidden_states encoder_hidden_states encoder_outputs last_hidden_state")
_PICTURES = words("pixel_values images image")


def meaning_of(name: str) -> str:
    """What an input of this name holds by custom: "ids", "mask", "given", "rows", "picture", or "" for nothing."""
    plain = name.lower().removesuffix(":0").rsplit("/", 1)[-1].rsplit(".", 1)[-1]
    for meaning, known in (("ids", _IDS), ("mask", _MASKS), ("given", _GIVEN), ("rows", _ROWS), ("picture", _PICTURES)):
        if plain in known:
            return meaning
    return ""
