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
EXCLUDED = dict(lxmert=dict(question_answering="answers questions about images: without `visual_feats` its forward raises"),
    cpmant=dict(causal_lm="sees the tokens that come after in what is given to it"), xlnet=dict(causal_lm="sees the tokens that come after, unless it is given a mask of its own kind (`perm_mask`)"),
    xlm=dict(causal_lm="writes in place of a mask token and drops the attention mask (`XLMWithLMHeadModel.prepare_inputs_for_generation`)"),
    perceiver=dict(masked_lm="wants each text padded to all of the model's positions (2,048 in the published one): `PerceiverForMaskedLM(config)(input_ids=ids)` raises for a shorter `ids`; our batches are as long as their longest text"))

# task -> types whose small model this check cannot make, or that fail in it, and that nobody has looked into yet
UNTRIED = dict(causal_lm='''bailing_hybrid bamba blt dbrx dots1 dots3_note emu3 gemma3n gemma3n_text gemma4 gemma4_assistant gemma4_text gemma4_unified_assistant
    granitemoehybrid kimi_linear lfm2_moe llama4 longcat_flash mllama musicgen musicgen_melody prophetnet qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen4_exp qwen4_exp_text
    recurrent_gemma rwkv xlstm youtu zaya falcon_h1 inkling_text inkling2_text mpt hrm_text reformer'''.split())

def reason(kind, task):
    "Why `kind` is not run for `task`; `None`: it is."
    if kind in UNTRIED.get(task, ()): return "its small model cannot be made here, or fails in this check, and was not looked into yet"
    return NO_TEXT.get(kind) or EXCLUDED.get(kind, {}).get(task)
