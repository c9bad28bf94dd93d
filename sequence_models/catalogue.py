"""Every model by its name, and what it is like; knows no Keras."""

from __future__ import annotations

RECURRENT_MODELS = ("lstm", "bilstm", "gru", "bigru")
POOLING_MODELS = ("attention", "meanpool", "maxpool", "pyramid")  # one vector per clip: many-to-one only
MODEL_NAMES = (*RECURRENT_MODELS, *POOLING_MODELS, "mstcn")
CAUSAL_MODELS = ("lstm", "gru", "mstcn")
RAW_RECURRENT_MODELS = ("td_cnn_lstm", "td_cnn_flatten_lstm", "td_convnet_gru")

# These say the same whatever order the timesteps come in.
ORDER_FREE_MODELS = ("attention", "meanpool", "maxpool", "td_cnn_avgpool", "td_cnn_maxpool")
RAW_POOLING_MODELS = ("td_cnn_avgpool", "td_cnn_maxpool", "conv3d")  # many-to-one only
STREAM_MODELS = (*RAW_RECURRENT_MODELS, *RAW_POOLING_MODELS, "td_backbone_rnn")
TWO_STREAM = "two_stream"
RAW_MODEL_NAMES = (*STREAM_MODELS, TWO_STREAM)  # on raw frames; all others are on embeddings
