"""The peers' side of bench:peers: PEFT + bitsandbytes + PyTorch as a process that does one step each time it reads a line.

Reads a JSON object from argv: model (folder, or null for Llama-2-7b's shapes), layers, batch, tokens, rank, compute
("f32" | "bf16"), checkpointing, threads, precision (torch.set_float32_matmul_precision), ids (a JSON file [steps][batch][tokens]).
Prints one JSON object a line: first {"ready": …}, then {"seconds", "loss", "peakBytes"} a step. Configuration is what the
guides say: NF4 with double quantisation, prepare_model_for_kbit_training, LoRA on all linears, torch.optim.AdamW, SDPA,
autocast for bf16 as transformers' Trainer does.

"gemm" instead of a model: y [tokens, out] = x Wᵀ by oneDNN; each line read is JSON, [tokens, in, out, "f32" | "bf16"], each answer its seconds.
"""
import json, sys, time, warnings

warnings.filterwarnings("ignore")
A = json.loads(sys.argv[1])
import torch

torch.set_num_threads(A["threads"])
torch.manual_seed(0)


def say(**fields):
    print(json.dumps(fields), flush=True)


def peak_bytes():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024


def gemm():
    kept = {}
    say(ready=True, versions={"torch": torch.__version__})
    for line in sys.stdin:
        if line not in kept:
            tokens, inner, out, dtype = json.loads(line)
            x, w = (torch.randn(rows, inner).to({"f32": torch.float32, "bf16": torch.bfloat16}[dtype]) for rows in (tokens, out))
            kept[line] = (x.to_mkldnn(), w.to_mkldnn(), x, w)
        xm, wm, x, w = kept[line]
        best = {}
        for name, run in (("oneDNN", lambda: torch.nn.functional.linear(xm, wm)), ("torch", lambda: torch.nn.functional.linear(x, w))):
            run()
            times = []
            for _ in range(3):
                t = time.perf_counter()
                run()
                times.append(time.perf_counter() - t)
            best[name] = min(times)
        say(**best)


def smollm(peft, bnb, dtype):
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    q = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)
    return AutoModelForCausalLM.from_pretrained(A["model"], quantization_config=q, dtype=dtype, device_map="cpu", attn_implementation="sdpa")


def llama7b(peft, bnb, dtype):
    """Every linear is made alone and quantised at once, so that the peak is one layer above the quantised size."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=A["layers"], num_attention_heads=32,
                         num_key_value_heads=32, max_position_embeddings=4096, rms_norm_eps=1e-5, tie_word_embeddings=False)
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            parent, leaf = model.get_submodule(name.rsplit(".", 1)[0]), name.rsplit(".", 1)[1]
            linear = bnb.nn.Linear4bit(module.in_features, module.out_features, bias=False, compute_dtype=dtype, compress_statistics=True, quant_type="nf4", device="meta")
            w = torch.empty((module.out_features, module.in_features), dtype=torch.bfloat16).normal_(0, 0.02)
            linear.weight = bnb.nn.Params4bit(w, requires_grad=False, compress_statistics=True, quant_type="nf4", module=linear).to("cpu")
            linear.quant_state = linear.weight.quant_state
            setattr(parent, leaf, linear)
        elif isinstance(module, (torch.nn.Linear, torch.nn.Embedding)):
            module.weight = torch.nn.Parameter(torch.empty(module.weight.shape, dtype=torch.bfloat16).normal_(0, 0.02), requires_grad=False)
        elif "RMSNorm" in type(module).__name__:
            module.weight = torch.nn.Parameter(torch.ones(module.weight.shape, dtype=torch.bfloat16), requires_grad=False)
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    model.is_loaded_in_4bit = model.is_quantized = True
    model.quantization_method = "bitsandbytes"
    return model


def train():
    import bitsandbytes as bnb
    import peft, transformers

    torch.set_float32_matmul_precision(A["precision"])
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[A["compute"]]
    model = (smollm if A["model"] is not None else llama7b)(peft, bnb, dtype)
    model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=A["checkpointing"], gradient_checkpointing_kwargs={"use_reentrant": False})
    model.config.use_cache = False
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = peft.get_peft_model(model, peft.LoraConfig(r=A["rank"], lora_alpha=16, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM"))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4)
    model.train()
    steps = torch.tensor(json.load(open(A["ids"])))
    versions = {m.__name__: m.__version__ for m in (torch, transformers, peft, bnb)}
    say(ready=True, versions=versions, trainable=sum(p.numel() for p in trained))
    for i, _ in enumerate(sys.stdin):
        x = steps[i % len(steps)]
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=A["compute"] == "bf16"):
            loss = model(input_ids=x, labels=x).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        say(seconds=time.perf_counter() - began, loss=loss.item(), peakBytes=peak_bytes())


gemm() if A["model"] == "gemm" else train()
