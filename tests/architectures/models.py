"A tiny model of any type in transformers' auto mappings, and a tokenizer that fits it; everything is made on the spot."
import torch
import transformers as tf
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.models.auto import modeling_auto as auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

MAPPINGS = dict(sequence_classification=auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, token_classification=auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES, masked_lm=auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    multiple_choice=auto.MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES, question_answering=auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES, causal_lm=auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, seq2seq=auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
TASKS = list(MAPPINGS)
MULTIMODAL = auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES
TEXTS = ['the film was great and we liked it', 'an awful bore', 'great', 'a fair story about a small town by the river', 'we left before the end since it was awful', 'great music', 'it rained and we liked the old house',
    'a bore from the start to the end of it'] * 3

# --- sizes: what a config says of the size of its model, whatever it calls it
SIZES = [(2, ('num_key_value_heads','num_kv_heads','num_global_key_value_heads','num_experts_per_tok','moe_topk','num_hidden_layers','n_layer','n_layers','num_layers','encoder_layers','decoder_layers','num_decoder_layers','num_encoder_layers','num_blocks')),
    (4, ('n_routed_experts','num_local_experts','num_experts','moe_num_experts','linear_num_key_heads','linear_num_value_heads','num_attention_heads','n_head','n_heads','num_heads','encoder_attention_heads','decoder_attention_heads','decoder_num_heads')),
    (32, ('shape_embed_dim','pronunciation_embed_dim','d_latents','entity_emb_size','hidden_size','d_model','n_embd','dim','emb_dim','embedding_size','n_positions_embd','embed_dim','input_embedding_size','output_embedding_size','word_embed_proj_dim')),
    (48, ('intermediate_size','d_ff','ffn_dim','encoder_ffn_dim','decoder_ffn_dim','n_inner','hidden_dim','d_inner','feed_forward_size','ffn_hidden_size','moe_intermediate_size','shared_expert_intermediate_size','dff','attention_hidden_size')),
    (8, ('linear_key_head_dim','linear_value_head_dim','index_head_dim','head_dim','d_kv','d_head','kv_channels','qk_rope_head_dim','qk_nope_head_dim','v_head_dim','kv_lora_rank','q_lora_rank','global_head_dim')),
    (16, ('index_topk','num_latents')),
    (64, ('entity_vocab_size','max_position_embeddings','n_positions','n_ctx','max_seq_len','max_sequence_length','max_seq_length'))]

def byte_level(special): # GPT-2, RoBERTa, Llama 3 ...
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer,tok.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False),decoders.ByteLevel()
    tok.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return tok

def word_piece(special): # BERT and its kin
    tok = Tokenizer(models.WordPiece(unk_token='[UNK]'))
    tok.normalizer,tok.pre_tokenizer,tok.decoder = normalizers.BertNormalizer(),pre_tokenizers.BertPreTokenizer(),decoders.WordPiece()
    tok.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False))
    return tok

def unigram(special): # SentencePiece: T5, ALBERT, XLNet, XLM-R ...
    tok = Tokenizer(models.Unigram())
    tok.pre_tokenizer,tok.decoder = pre_tokenizers.Metaspace(),decoders.Metaspace()
    tok.train_from_iterator(TEXTS, trainers.UnigramTrainer(vocab_size=150, special_tokens=special, unk_token='<unk>', show_progress=False))
    return tok

def characters(special): # CANINE, Perceiver
    vocab = {t:i for i,t in enumerate([*special, *map(chr, range(32, 127))])}
    tok = Tokenizer(models.WordLevel(vocab, unk_token=special[0]))
    tok.pre_tokenizer = pre_tokenizers.Split(Regex('.'), 'isolated')
    return tok

BERT,ROBERTA = ['[PAD]','[UNK]','[CLS]','[SEP]','[MASK]'],['<s>','<pad>','</s>','<unk>','<mask>']
def bert_like(fields=('input_ids','token_type_ids','attention_mask'), make=word_piece):
    raw = make(BERT)
    raw.post_processor = processors.BertProcessing(('[SEP]', 3), ('[CLS]', 2))
    return dict(tokenizer_object=raw, pad_token='[PAD]', unk_token='[UNK]', cls_token='[CLS]', sep_token='[SEP]', mask_token='[MASK]', model_input_names=list(fields))
def roberta_like(make=byte_level):
    raw = make(ROBERTA)
    raw.post_processor = processors.RobertaProcessing(('</s>', 2), ('<s>', 0))
    return dict(tokenizer_object=raw, bos_token='<s>', eos_token='</s>', cls_token='<s>', sep_token='</s>', pad_token='<pad>', unk_token='<unk>', mask_token='<mask>', model_input_names=['input_ids','attention_mask'])
def gpt_like(): # neither padding nor special tokens of its own
    return dict(tokenizer_object=byte_level(['<|endoftext|>']), bos_token='<|endoftext|>', eos_token='<|endoftext|>', model_input_names=['input_ids','attention_mask'])
def llama_like(side='right'): # a start token, an end token, none for padding
    raw = byte_level(['<unk>','<s>','</s>'])
    raw.post_processor = processors.TemplateProcessing(single='<s> $A', pair='<s> $A <s> $B', special_tokens=[('<s>', 1)])
    return dict(tokenizer_object=raw, bos_token='<s>', eos_token='</s>', unk_token='<unk>', padding_side=side, model_input_names=['input_ids','attention_mask'])
def t5_like():
    raw = unigram(['<pad>','</s>','<unk>','<mask>'])
    raw.post_processor = processors.TemplateProcessing(single='$A </s>', pair='$A </s> $B </s>', special_tokens=[('</s>', 1)])
    return dict(tokenizer_object=raw, pad_token='<pad>', eos_token='</s>', unk_token='<unk>', mask_token='<mask>', model_input_names=['input_ids','attention_mask'])
def xlnet_like(): # padding and the special tokens on the other side
    raw = unigram(['<unk>','<s>','</s>','<cls>','<sep>','<pad>','<mask>'])
    raw.post_processor = processors.TemplateProcessing(single='$A:0 <sep>:0 <cls>:2', pair='$A:0 <sep>:0 $B:1 <sep>:1 <cls>:2', special_tokens=[('<sep>', 4), ('<cls>', 3)])
    return dict(tokenizer_object=raw, bos_token='<s>', eos_token='</s>', unk_token='<unk>', sep_token='<sep>', pad_token='<pad>', cls_token='<cls>', mask_token='<mask>', padding_side='left', model_input_names=['input_ids','token_type_ids','attention_mask'])

TOKENIZERS = {f.__name__ if hasattr(f, '__name__') else n:f for n,f in dict(bert_like=bert_like, roberta_like=roberta_like, gpt_like=gpt_like, llama_like=llama_like, t5_like=t5_like, xlnet_like=xlnet_like).items()}
_with = dict(
    bert_like='bert big_bird bros convbert deberta-v2 distilbert electra ernie fnet funnel gte layoutlm lilt megatron-bert mobilebert modernvbert mpnet mra nomic_bert nystromformer rembert roc_bert roformer squeezebert tapas yoso ibert ultrabert ultravbert modernbert modernbert-decoder neomme esm esmc eurobert cohere_compass_text openai_privacy_filter splinter prophetnet encoder-decoder',
    roberta_like='roberta bart mbart mvp plbart camembert data2vec-text deberta longformer luke roberta-prelayernorm xlm-roberta xlm-roberta-xl xmod markuplm bigbird_pegasus layoutlmv3 layoutlmv2 jina_embeddings_v3 flaubert xlm led m2m_100 nllb-moe blenderbot blenderbot-small fsmt seamless_m4t seamless_m4t_v2',
    t5_like='t5 mt5 umt5 t5gemma t5gemma2 albert reformer longt5 switch_transformers pegasus pegasus_x marian', xlnet_like='xlnet', gpt_like='qwen2 qwen3_5 qwen3_5_text gpt2 gpt_neo gptj gpt_bigcode gpt_neox gpt-sw3 openai-gpt ctrl opt bloom falcon mpt biogpt starcoder2 phi stablelm')
KIND = {t:kind for kind,types in _with.items() for t in types.split()} | dict(canine='characters', perceiver='characters') # all others: decoders of Llama's kind
FIELDS = {t:('input_ids','attention_mask') for t in 'distilbert mpnet modernbert modernbert-decoder esm esmc eurobert neomme ultrabert ultravbert modernvbert cohere_compass_text openai_privacy_filter gte'.split()}

def make_tokenizer(kind):
    "The tokenizer that a model of type `kind` gets."
    if kind in ('canine','perceiver'): kwargs = bert_like(make=characters) if kind=='canine' else bert_like(('input_ids','attention_mask'), characters)
    elif KIND.get(kind)=='bert_like' and kind in FIELDS: kwargs = bert_like(FIELDS[kind])
    else: kwargs = TOKENIZERS[KIND.get(kind, 'llama_like')]()
    return tf.PreTrainedTokenizerFast(model_max_length=64, **kwargs)

def _sizes(config):
    "The small sizes for what `config` has of them."
    return {n:int(size) for size,names in SIZES for n in names if n in config and isinstance(config[n], int) and not isinstance(config[n], bool)}

def _small(cls, special, ids, vocab_size):
    "A config of class `cls` with small sizes, also of the configs inside it."
    first = cls()
    config = first.to_dict()
    inner = {n:_small(type(getattr(first, n)), special.get(n, {}), ids, vocab_size).to_dict() for n in getattr(cls, 'sub_configs', {}) if getattr(first, n, None) is not None}
    vocab = {n:vocab_size for n in ('vocab_size','unpadded_vocab_size','decoder_vocab_size','src_vocab_size','tgt_vocab_size') if n in config}
    return cls(**{k:v for k,v in (_sizes(config) | ids | vocab | inner).items()} | {k:v for k,v in special.items() if not isinstance(v, dict) or k not in inner})

def make_config(kind, tokenizer, task=None):
    "A config of two narrow layers; for `causal_lm` of a decoder, where the type can be both; for `seq2seq` of one whose decoder knows where to start."
    ids = {f'{n}_token_id':getattr(tokenizer, f'{n}_token_id') for n in ('pad','bos','eos','cls','sep')}
    ids = {k:v for k,v in ids.items() if v is not None or k=='pad_token_id'}
    if kind=='encoder-decoder': return _two_berts(ids, len(tokenizer))
    config = _small(CONFIG_MAPPING[kind], SPECIAL.get(kind, {}), ids, len(tokenizer))
    if task=='causal_lm': config.is_decoder = True
    if task=='seq2seq': _start(config, tokenizer)
    return config

def _two_berts(ids, vocab_size):
    encoder,decoder = (_small(tf.BertConfig, {}, ids, vocab_size) for _ in range(2))
    return tf.EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)

def _start(config, tokenizer): # tokens that the published ones number otherwise
    start = getattr(config, 'decoder_start_token_id', None)
    config.decoder_start_token_id = start if start is not None and start<len(tokenizer) else tokenizer.pad_token_id
    if getattr(config, 'forced_eos_token_id', None) is not None: config.forced_eos_token_id = tokenizer.eos_token_id

def n_parameters(cls, config):
    "Parameters of a model before it is built."
    with torch.device('meta'): return sum(p.numel() for p in cls(config).parameters())

# --- what else a type needs to be small, or to be built at all
_vision = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8)
_experts = dict(num_experts_per_tok=2, n_group=2, topk_group=1, num_key_value_heads=4)
_per_layer = dict(vocab_size_per_layer_input=500, hidden_size_per_layer_input=8, layer_types=['sliding_attention','full_attention'], global_head_dim=8)
_linear = dict(layer_types=['linear_attention','full_attention'])
_indexed = dict(layer_types=['linear_attention','indexed_attention'], hc_lowrank=8, indexer_n_heads=2, indexer_kv_heads=1, indexer_head_dim=8, indexer_budget=16, indexer_compress_ratio=4)
_windowed = dict(swa_num_attention_heads=4, swa_num_key_value_heads=2, swa_head_dim=8, rel_extent=64)
_qwen_vision = dict(depth=1, hidden_size=32, intermediate_size=48, num_heads=2, out_hidden_size=32)
SPECIAL = dict(
    **{k:_experts for k in ('axk1','axk2','deepseek_v2','deepseek_v3','minicpm3')}, mistral4=_experts | dict(head_dim=16), esmc=dict(num_key_value_heads=4), qwen3_moe=dict(num_experts_per_tok=2), qwen3_next=dict(num_experts_per_tok=2, layer_types=['linear_attention','full_attention']),
    gpt_neo=dict(attention_types=[[['global','local'], 1]]), jamba=dict(attn_layer_period=2, attn_layer_offset=1), qwen3_5=dict(text_config=_linear, vision_config=_qwen_vision), qwen3_5_text=_linear,
    gptj=dict(rotary_dim=4), codegen=dict(rotary_dim=4), mamba2=dict(num_heads=4, head_dim=16, n_groups=1), ernie4_5_moe=dict(moe_k=2, moe_num_experts=4), mpt=dict(max_seq_len=128),
    dots3_note_text=dict(num_key_value_heads=4), **{k:dict(num_key_value_heads=4) for k in ('deepseek_v32','glm4_moe_lite','glm_moe_dsa','sarvam_mla')},
    dory=dict(num_hidden_layers=3, n_input_layers=1, n_output_layers=1), inkling2_text=_windowed, inkling2_loop_text=_windowed | dict(n_layers_per_attn_res_block=1, loop_layer_index_start=1, loop_layer_index_end=2),
    lfm3=dict(layer_types=['conv','full_attention']), funnel=dict(block_sizes=[1, 1], num_decoder_layers=1), layoutlmv3=dict(coordinate_size=6, shape_size=4, has_relative_attention_bias=False, has_spatial_attention_bias=False, visual_embed=False),
    lilt=dict(channel_shrink_ratio=1, hidden_size=36), neomme=dict(head_dim=16), reformer=dict(axial_pos_embds=False, # with axial positions transformers trains on sequences of exactly that length only
         attn_layers=['local','lsh'], num_attention_heads=2, attention_head_size=16, is_decoder=False, hash_seed=0),
    xmod=dict(default_language='en_XX', languages=['en_XX']), zamba=dict(attention_hidden_size=64, attention_head_dim=16, num_hidden_layers=3, layer_types=['mamba','hybrid','hybrid']), zamba2=dict(num_mem_blocks=1, attention_hidden_size=64, attention_head_dim=16, num_hidden_layers=3, layers_block_type=['mamba','hybrid','hybrid']),
    hunyuan_v1_dense=dict(head_dim=8), hunyuan_v1_moe=dict(head_dim=8), ministral=dict(head_dim=8), nemotron=dict(num_key_value_heads=2), t5=dict(decoder_start_token_id=0), bigbird_pegasus=dict(attention_type='original_full'), big_bird=dict(attention_type='original_full'),
    cohere_compass_text=dict(rope_parameters=dict(full_attention=dict(rope_type='default', rope_theta=10000.), sliding_attention=dict(rope_type='default', rope_theta=10000.))),
    gemma3=dict(vision_config=_vision), modernvbert=dict(vision_config=_vision), t5gemma2=dict(vision_config=_vision),
    led=dict(attention_window=[8, 8]), longt5=dict(local_radius=7, global_block_size=8), pegasus_x=dict(block_size=8, num_global_tokens=4),
    **{k:dict(num_key_value_heads=4, num_experts_per_tok=2, linear_head_dim=8, linear_num_heads=4, layer_types=['linear_attention','full_attention']) for k in ('bailing_hybrid','kimi_linear')}, youtu=dict(num_key_value_heads=4),
    bamba=dict(mamba_n_heads=4, mamba_d_head=16, attn_layer_indices=[1]), granitemoehybrid=dict(mamba_n_heads=4, mamba_d_head=16, layer_types=['mamba','attention']),
    blt=dict(encoder_hash_byte_group_vocab=50, global_config=dict(hidden_size=64, intermediate_size=48)), dbrx=dict(attn_config=dict(rope_theta=10000., kv_n_heads=2, clip_qkv=8.)),
    dots1=dict(n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1), dots3_note=dict(text_config=dict(num_key_value_heads=4), vision_config=dict(pyramid_num_routed=[-1, -1], adapter_in_dim=32, adapter_out_dim=32), audio_config=dict(adapter_input_size=32, adapter_out_dim=32)),
    gemma3n_text=dict(num_kv_shared_layers=0, vocab_size_per_layer_input=500, hidden_size_per_layer_input=8, layer_types=['sliding_attention','full_attention']),
    gemma4_text=_per_layer, gemma4=dict(text_config=_per_layer, vision_config=dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, head_dim=16, position_embedding_size=64), audio_config=dict(hidden_size=32, num_attention_heads=2, num_hidden_layers=1, subsampling_conv_channels=[8, 4], output_proj_dims=32)),
    emu3=dict(vocabulary_map={'<image>':3}, text_config=dict(pad_token_id=2), vq_config=dict(base_channels=32, codebook_size=64, num_res_blocks=1, channel_multiplier=[1, 1])), falcon_h1=dict(mamba_d_ssm=64, mamba_n_heads=4, mamba_d_head=16, mamba_d_state=16, mamba_chunk_size=8),
    lfm2_moe=dict(num_dense_layers=1, layer_types=['conv','full_attention']), llama4=dict(text_config=dict(intermediate_size_mlp=48, num_experts_per_tok=1), vision_config=_vision | dict(vision_output_dim=32, projector_input_dim=32, projector_output_dim=32)),
    longcat_flash=dict(num_key_value_heads=4, q_lora_rank=8, moe_topk=2, zero_expert_num=2, expert_ffn_hidden_size=48), qwen3_5_moe_text=_linear, qwen3_5_moe=dict(text_config=_linear, vision_config=_qwen_vision), qwen4_exp_text=_indexed,
    qwen4_exp=dict(text_config=_indexed, vision_config=_qwen_vision),
    recurrent_gemma=dict(block_types=['recurrent','attention']), rwkv=dict(attention_hidden_size=32), zaya=dict(num_experts_per_tok=1, router_hidden_size=16), xlstm=dict(hidden_size=128, embedding_dim=128, num_heads=2, chunk_size=16))
