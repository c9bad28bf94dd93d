"""Train a Keras model of your own on a feature store: python own_model.py STORE LABELS

LABELS is a CSV of clip_id,label. The batches are padded; the mask says what is real.
"""

import sys

import clipseq


def main(store_path: str, labels: str) -> None:
    """Print the loss of every pass."""
    store = clipseq.open_store(store_path)
    classes = store.labelled(labels).vocabulary
    batches = store.to_tf_dataset(labels, batch_size=16, seed=0)
    import keras  # after the line that starts TensorFlow without its chatter

    embeddings, mask = keras.Input((None, store.embedding_dim)), keras.Input((None,), dtype="bool")
    last = keras.layers.GRU(32)(embeddings, mask=mask)
    model = keras.Model([embeddings, mask], keras.layers.Dense(len(classes))(last))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1))
    history = model.fit(batches, epochs=10, shuffle=False, verbose=0).history
    print(*(f"{loss:.3f}" for loss in history["loss"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
