"Types that are not run, or not for a task, each with its reason. The documentation shows them."

NO_TEXT = dict(
    bros="needs a bounding box for each token: without `bbox` its forward raises",
    layoutlmv2="needs detectron2 and an image of the page",
    qwen3_asr="labels frames of audio: its forward needs `input_features`",
    tapas="reads tables: each token has seven types (cell, row, column, rank ...) that only a table gives")

# these work, but the logits of a row depend on the padding beside it
PADDING = dict(
    canine="joins characters in strides of four, padding among them",
    convbert="its convolutions reach into the padding beside the last tokens",
    nystromformer="estimates attention from landmarks, means over stretches of all positions",
    fnet="mixes all positions by a Fourier transform and takes no attention mask",
    funnel="pools neighbouring positions, padding among them; and transformers zeroes its embedding of the pad token whenever it loads it, which moves the probabilities of a masked LM in the sixth place",
    t5gemma="reads the decoder's state one place after the last token, and where there is no padding that place is cut off (`torch.clamp(last_non_pad_token, max=...)` in `T5GemmaForSequenceClassification.forward`)",
    t5gemma2="reads the decoder where t5gemma does",
    yoso="estimates attention by hashing over all positions, padding among them")

# type -> task -> reason: likewise, for this task alone
PADDING_OF = dict(roformer=dict(multiple_choice="reads the last place of each choice, which is padding in all but the longest; with `tokenizer.padding_side = 'left'` it is the last token"))

def padding(kind, task):
    "Why padding counts for `kind` in `task`; `None`: it does not."
    return PADDING.get(kind) or PADDING_OF.get(kind, {}).get(task)

# type -> task -> reason; a few lines of plain transformers show what is wrong there
_hears = "writes down or answers sound: one decoder, into which the sound is put, and no encoder of texts"
_drafts = "drafts tokens for a larger Gemma 4 and reads its states: alone its forward raises"
_sounds = "its tokens are codes of sound, and its config has none for texts"
_part = "transformers opens its language part only by the name of its class: what is saved of it does not open with `AutoModelForCausalLM`"
EXCLUDED = dict(**{k:dict(seq2seq=_hears) for k in ('audioflamingo3','glmasr','granite_speech','granite_speech_plus','moss_transcribe_diarize','musicflamingo','nemo_speechlm','qwen2_audio','vibevoice_asr','voxtral','voxtral_realtime')},
    gemma4_assistant=dict(causal_lm=_drafts), gemma4_unified_assistant=dict(causal_lm=_drafts), musicgen=dict(causal_lm=_sounds), musicgen_melody=dict(causal_lm=_sounds),
    emu3=dict(causal_lm=_part), mllama=dict(causal_lm=_part),
    prophetnet=dict(causal_lm="looks up the position after the last, so that a text as long as `max_position_embeddings` raises an IndexError; and its logits change with the padding behind a text"),
    blt=dict(causal_lm="reads bytes in patches, and in this release its forward raises in plain transformers too (`BltConfig` has no `num_hidden_layers`)"),
    gemma3n=dict(causal_lm="needs the package `timm`, which reads its images; its language part alone is gemma3n_text"),
    lxmert=dict(question_answering="answers questions about images: without `visual_feats` its forward raises"),
    cpmant=dict(causal_lm="sees the tokens that come after in what is given to it"), xlnet=dict(causal_lm="sees the tokens that come after, unless it is given a mask of its own kind (`perm_mask`)"),
    xlm=dict(causal_lm="writes in place of a mask token and drops the attention mask (`XLMWithLMHeadModel.prepare_inputs_for_generation`)"),
    perceiver=dict(masked_lm="wants each text padded to all of the model's positions (2,048 in the published one): `PerceiverForMaskedLM(config)(input_ids=ids)` raises for a shorter `ids`; our batches are as long as their longest text"))

def reason(kind, task):
    "Why `kind` is not run for `task`; `None`: it is."
    return NO_TEXT.get(kind) or EXCLUDED.get(kind, {}).get(task)
