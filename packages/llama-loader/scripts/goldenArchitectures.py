"""Tiny random models of every family with the logits that transformers gives: fixtures/architectures/FAMILY.

    python goldenArchitectures.py [FAMILY ...]

config.json, model.safetensors (bf16 numbers; what is computed is f32), model.gguf (f32, names and order as llama.cpp's
convert_hf_to_gguf.py writes them) and golden.safetensors: input_ids, logits, and for variants of the config over the same
weights NAME.logits, with the config's changes in variants.json. adapter/ is a LoRA of PEFT over all linears, with the
gradients of the mean loss in grads.safetensors; vectors.safetensors has those of norms and biases where all is trained. Norms and biases are random, windows shorter than the text.
Needs torch, transformers, peft, safetensors, gguf.
"""
import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

OUT = Path(__file__).resolve().parent.parent / "fixtures" / "architectures"
TOKENS, VOCABULARY, HIDDEN, HEADS, KV_HEADS, HEAD = 40, 96, 32, 4, 2, 16

common = dict(
    vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=48, num_attention_heads=HEADS,
    num_key_value_heads=KV_HEADS, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    attn_implementation="eager",
)
# Family: configuration class, its arguments, changes of its variants.
FAMILIES = {
    "mistral": ("Mistral", dict(num_hidden_layers=2, head_dim=HEAD, sliding_window=7), {}),
    "qwen2": ("Qwen2", dict(num_hidden_layers=2, rms_norm_eps=1e-6, tie_word_embeddings=False),
              {"sliding": dict(use_sliding_window=True, sliding_window=5, max_window_layers=1,
                               layer_types=["full_attention", "sliding_attention"])}),
    "qwen3": ("Qwen3", dict(num_hidden_layers=2, head_dim=HEAD, tie_word_embeddings=True, rope_theta=1e6), {}),
    "smollm3": ("SmolLM3", dict(num_hidden_layers=4, tie_word_embeddings=True, rope_theta=5e4),
                {"listed": dict(no_rope_layers=[1, 0, 0, 1])}),
    "phi3": ("Phi3", dict(num_hidden_layers=2, original_max_position_embeddings=256, tie_word_embeddings=False),
             {"sliding": dict(sliding_window=6),
              "longrope": dict(original_max_position_embeddings=64, rope_scaling=dict(
                  type="longrope", short_factor=[1.0, 1.05, 1.1, 1.2], long_factor=[1.1, 1.5, 2.0, 4.0])),
              "longrope, long": dict(original_max_position_embeddings=16, rope_scaling=dict(
                  type="longrope", short_factor=[1.0, 1.05, 1.1, 1.2], long_factor=[1.1, 1.5, 2.0, 4.0]))}),
    "gemma2": ("Gemma2", dict(num_hidden_layers=2, head_dim=HEAD, query_pre_attn_scalar=HEAD, sliding_window=7,
                              attn_logit_softcapping=3.0, final_logit_softcapping=2.0),
               {"scaled": dict(query_pre_attn_scalar=24)}),
    "gemma3": ("Gemma3", dict(num_hidden_layers=6, head_dim=HEAD, query_pre_attn_scalar=HEAD, sliding_window=7,
                              rope_theta=1e6, rope_local_base_freq=1e4, rope_scaling=dict(rope_type="linear", factor=4.0)),
               {}),
}


def configuration(kind, more):
    cls = getattr(transformers, "Gemma3TextConfig" if kind == "Gemma3" else f"{kind}Config")
    return cls(**{**common, **more})


def logits_of(kind, config, state, ids):
    model = getattr(transformers, f"{kind}ForCausalLM")(config).float().eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all("lm_head" in name for name in missing), (missing, unexpected)
    model.tie_weights()
    with torch.no_grad():
        return model(input_ids=ids[None]).logits[0].contiguous()


def write_adapter(kind, config, state, ids, folder):
    """A LoRA of rank 1 whose B is not 0, and its gradients."""
    model = getattr(transformers, f"{kind}ForCausalLM")(config).float()
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    lora = LoraConfig(r=1, lora_alpha=2, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, lora)
    generator = torch.Generator().manual_seed(11)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for parameter in trained.values():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    model.eval()
    logits = model(input_ids=ids[None]).logits[0]
    torch.nn.functional.cross_entropy(logits[:-1], ids[1:]).backward()
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    save_file({name.replace(".default", ""): p.grad.contiguous() for name, p in trained.items()}, folder / "grads.safetensors")
    return logits.detach().contiguous()


def write_vector_gradients(kind, config, state, ids, path):
    model = getattr(transformers, f"{kind}ForCausalLM")(config).float().eval()
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    torch.nn.functional.cross_entropy(model(input_ids=ids[None]).logits[0][:-1], ids[1:]).backward()
    save_file({name: p.grad.contiguous() for name, p in model.named_parameters() if p.ndim == 1}, path)


def randomized(model, seed):
    """All of it random: matrices so that logits differ clearly, gains around what is neutral, biases around 0."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    tied = model.config.tie_word_embeddings
    shifted = "Gemma" in type(model).__name__
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and tied:
            continue
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("norm.weight"):
            fresh = 0.3 * noise + (0.0 if shifted else 1.0)
        elif name.endswith("bias"):
            fresh = 0.5 * noise
        else:
            fresh = noise * (0.5 if "embed" in name else 1.5 / value.shape[-1] ** 0.5)
        state[name] = fresh.to(torch.bfloat16)
    return state


NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate_up_proj": "ffn_up",
}
GEMMA = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
         "post_feedforward_layernorm": "post_ffw_norm"}


def gguf_name(family, name):
    path, kind = name.rsplit(".", 1)
    names = {**NAMES, **(GEMMA if family.startswith("gemma") else {})}
    if path in names:
        return f"{names[path]}.{kind}"
    _, _, layer, module = path.split(".", 3)
    return f"blk.{layer}.{names[module]}.{kind}"


def permuted(rows, heads):
    """convert_hf_to_gguf.py, LlamaModel.permute."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def write_gguf(family, config, state, path):
    arch = {"mistral": "llama"}.get(family, family)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(head)
    writer.add_value_length(head)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    if family in ("mistral", "smollm3", "phi3"):
        writer.add_rope_dimension_count(head)
    if family == "phi3":
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
    if family.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)
    if family == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if family == "gemma3":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["full_attention"]["factor"])
    # A vocabulary of letters, since llama.cpp opens no model without one.
    tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581"] + [chr(33 + i) for i in range(VOCABULARY - 5)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types([2, 3, 3, 6] + [1] * (VOCABULARY - 4))
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, value in state.items():
        array = value.float().numpy()
        if family in ("mistral", "smollm3") and ".q_proj." in name:
            array = permuted(array, config.num_attention_heads)
        if family in ("mistral", "smollm3") and ".k_proj." in name:
            array = permuted(array, config.num_key_value_heads)
        if family.startswith("gemma") and name.endswith("norm.weight"):
            array = array + np.float32(1)
        # bf16 numbers stay exact in bf16; vectors are f32 there.
        if array.ndim > 1:
            data = (np.ascontiguousarray(array).view(np.uint32) >> 16).astype(np.uint16)
            writer.add_tensor(gguf_name(family, name), data.view(np.uint8).reshape(array.shape[0], -1),
                              raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(gguf_name(family, name), array.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(family):
    kind, more, variants = FAMILIES[family]
    torch.manual_seed(0)
    config = configuration(kind, more)
    state = randomized(getattr(transformers, f"{kind}ForCausalLM")(config), seed=len(family) * 101 + ord(family[0]))
    ids = torch.randint(3, VOCABULARY, (TOKENS,), generator=torch.Generator().manual_seed(7))
    folder = OUT / family
    folder.mkdir(parents=True, exist_ok=True)
    golden = {"input_ids": ids[None], "logits": logits_of(kind, config, state, ids)}
    golden["adapter.logits"] = write_adapter(kind, configuration(kind, more), state, ids, folder / "adapter")
    if family in ("qwen2", "gemma3"):
        write_vector_gradients(kind, configuration(kind, more), state, ids, folder / "vectors.safetensors")
    saved = configuration(kind, more)
    saved.architectures = [f"{kind}ForCausalLM"]
    saved.dtype = "bfloat16"
    base = saved.to_dict()
    changes = {}
    for name, change in variants.items():
        other = configuration(kind, {**more, **change})
        golden[f"{name}.logits"] = logits_of(kind, other, state, ids)
        assert not torch.allclose(golden[f"{name}.logits"], golden["logits"], atol=1e-3), name
        changes[name] = {key: value for key, value in other.to_dict().items()
                         if key in base and base[key] != value and key not in ("architectures", "dtype")}
    def write(name, value):
        (folder / name).write_text(json.dumps(value, indent=2, default=str) + "\n")
    write("config.json", {key: value for key, value in base.items() if not key.startswith("_")})
    write("variants.json", changes)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    save_file(golden, folder / "golden.safetensors")
    write_gguf(family, config, state, folder / "model.gguf")
    print(family, {name: list(value.shape) for name, value in golden.items()}, float(golden["logits"].std()))


for family in sys.argv[1:] or FAMILIES:
    make(family)
