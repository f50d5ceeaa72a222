//! Configurations of the Hugging Face libraries: what is ordinary passes, what imports or runs code does not.

use crate::support::{loads, refused};

const CODE: &str = "SR-INS-0062";
const PATH: &str = "SR-INS-0101";

#[test]
#[expect(clippy::too_many_lines, reason = "a table of samples")]
fn ordinary_configurations_load() {
    for (name, text) in [
        (
            "config.json",
            r#"{"architectures":["BertForMaskedLM"],"attention_probs_dropout_prob":0.1,"hidden_act":"gelu","model_type":"bert","torch_dtype":"float32","transformers_version":"4.46.0","id2label":{"0":"a.b"},"auto_map":null,"trust_remote_code":false}"#,
        ),
        (
            "config.json",
            r#"{"_name_or_path":"/home/user/llama","architectures":["LlamaForCausalLM"],"rope_scaling":{"rope_type":"llama3","factor":8.0},"quantization_config":{"quant_method":"gptq","modules_in_block_to_quantize":[["self_attn.k_proj"]]},"eos_token_id":[1,2]}"#,
        ),
        ("generation_config.json", r#"{"bos_token_id":1,"do_sample":true,"temperature":0.6,"top_p":0.9}"#),
        (
            "preprocessor_config.json",
            r#"{"feature_extractor_type":"WhisperFeatureExtractor","processor_class":"WhisperProcessor","image_mean":[0.5,0.5,0.5],"size":{"height":224,"width":224}}"#,
        ),
        (
            "adapter_config.json",
            r#"{"auto_mapping":null,"base_model_name_or_path":"meta-llama/Llama-2-7b-hf","peft_type":"LORA","target_modules":["q_proj","v_proj"],"task_type":"CAUSAL_LM"}"#,
        ),
        (
            "adapter_config.json",
            r#"{"auto_mapping":{"base_model_class":"BertModel","parent_library":"transformers.models.bert.modeling_bert"},"peft_type":"LORA"}"#,
        ),
        (
            "model_index.json",
            r#"{"_class_name":"StableDiffusionPipeline","_diffusers_version":"0.30.0","feature_extractor":["transformers","CLIPImageProcessor"],"image_encoder":[null,null],"requires_safety_checker":true,"safety_checker":["stable_diffusion","StableDiffusionSafetyChecker"],"scheduler":["diffusers","PNDMScheduler"],"unet":["diffusers","UNet2DConditionModel"],"vae":["diffusers","AutoencoderKL"]}"#,
        ),
        (
            "unet/config.json",
            r#"{"_class_name":"UNet2DConditionModel","_diffusers_version":"0.30.0","down_block_types":["CrossAttnDownBlock2D","DownBlock2D"],"act_fn":"silu"}"#,
        ),
        (
            "modules.json",
            r#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},{"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"},{"idx":2,"name":"2","path":"2_Normalize","type":"sentence_transformers.models.Normalize"}]"#,
        ),
        (
            "2_Dense/config.json",
            r#"{"in_features":768,"out_features":128,"bias":true,"activation_function":"torch.nn.modules.activation.Tanh"}"#,
        ),
        (
            "config.json",
            r#"{"sentence_transformers":{"activation_fn":"torch.nn.modules.activation.Sigmoid","version":"4.0.1"},"sbert_ce_default_activation_function":"torch.nn.modules.linear.Identity"}"#,
        ),
        (
            "tokenizer_config.json",
            r#"{"added_tokens_decoder":{"0":{"content":"<unk>","lstrip":false,"special":true}},"tokenizer_class":"PreTrainedTokenizerFast","model_max_length":1000000000000000019884624838656}"#,
        ),
        (
            "tokenizer.json",
            r#"{"version":"1.0","truncation":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"post_processor":{"type":"TemplateProcessing","single":[{"Sequence":{"id":"A","type_id":0}}]},"model":{"type":"BPE","vocab":{"module":1,"auto_map":2,"_target_":3,"chat_template":4,"__class__":5,"{{":6},"merges":[["{","{"],["{{","x"]]}}"#,
        ),
        (
            "vocab.json",
            r#"{"module":21412,"import":11748,"class":4871,"type":4906,"function":8818,"loader":29356}"#,
        ),
        ("special_tokens_map.json", r#"{"bos_token":"<s>","additional_special_tokens":["<|a.b|>"]}"#),
        (
            "model.safetensors.index.json",
            r#"{"metadata":{"total_size":8},"weight_map":{"model.layers.0.mlp.weight":"model-00001-of-00002.safetensors"}}"#,
        ),
        (
            "config_sentence_transformers.json",
            r#"{"__version__":{"sentence_transformers":"3.0"},"prompts":{"query":"query: {x}"},"similarity_fn_name":"cosine"}"#,
        ),
        (
            "trainer_state.json",
            r#"{"log_history":[{"loss":1.5,"step":10}],"global_step":10,"trial_params":null}"#,
        ),
        (
            "training_args.yaml",
            "model:\n  hidden: 128 # wide\n  type: bert\n  path: a/b\nnote: 'Hello !name'\nlist: [1, 2]\nbang: hi !there\n",
        ),
        ("config.yml", "a: !!str 1\nb: !!float 2\nimages: ![x](y)\n_target: none\n"),
    ] {
        loads(name, name, text.as_bytes());
    }
}

#[test]
fn what_imports_or_runs_code_is_refused() {
    for (what, text) in [
        ("auto_map of a configuration", r#"{"auto_map":{"AutoConfig":"configuration_evil.EvilConfig"}}"#),
        ("auto_map of a tokenizer", r#"{"auto_map":{"AutoTokenizer":["tok.Slow",null]}}"#),
        ("auto_map of another repository", r#"{"auto_map":{"AutoModel":"user/repo--modeling.Model"}}"#),
        ("auto_map as a list", r#"{"auto_map":["tok.Slow",null]}"#),
        ("auto_map as a text", r#"{"auto_map":"tok.Slow"}"#),
        ("custom_pipelines", r#"{"custom_pipelines":{"x":{"impl":"evil.P","pt":["AutoModel"]}}}"#),
        ("custom_generate", r#"{"custom_generate":"user/repo"}"#),
        ("trust_remote_code", r#"{"a":{"trust_remote_code":true}}"#),
        ("trust_remote_code as a text", r#"{"trust_remote_code":"yes"}"#),
        ("trust_remote_code as a number", r#"{"trust_remote_code":1}"#),
        ("hydra", r#"{"model":{"_target_":"os.system","_args_":["id"]}}"#),
        ("lightning", r#"{"class_path":"evil.Model","init_args":{}}"#),
        ("latent diffusion", r#"{"target":"ldm.models.Evil","params":{}}"#),
        ("PEFT", r#"{"auto_mapping":{"base_model_class":"X","parent_library":"transformers_modules.evil"}}"#),
        ("PEFT of another module", r#"{"auto_mapping":{"base_model_class":"X","parent_library":"os"}}"#),
        ("PEFT that walks out", r#"{"parent_library":"transformers.models.bert.modeling_bert.os"}"#),
        ("activation", r#"{"activation_function":"os.system"}"#),
        ("activation that looks alike", r#"{"activation_function":"torch.nn.modules.activation.Tanh.evil"}"#),
        ("torch but no activation", r#"{"activation_fn":"torch.hub.load"}"#),
        ("module type", r#"[{"idx":0,"name":"0","path":"","type":"evil.Module"}]"#),
        ("module type without a dot", r#"[{"idx":0,"name":"0","path":"","type":"evil"}]"#),
        ("module type of a list", r#"[{"idx":0,"name":"0","path":"","type":["a.b"]}]"#),
        ("handler", r#"{"handler":"evil.handle"}"#),
        ("list of processors", r#"{"logits_processors":["evil.Processor"]}"#),
        ("jsonpickle", r#"{"py/object":"os.system"}"#),
        ("reduce", r#"{"a":[{"__reduce__":["os.system",["id"]]}]}"#),
    ] {
        refused(what, "config.json", text.as_bytes(), CODE);
        refused(what, "", text.as_bytes(), CODE);
    }
    for (what, text) in [
        ("own module", r#"{"_class_name":"StableDiffusionPipeline","unet":["my_unet","MyUNet"]}"#),
        ("own pipeline", r#"{"_class_name":["pipeline","MyPipeline"],"unet":["diffusers","UNet2DModel"]}"#),
        ("library with a path", r#"{"_class_name":"XPipeline","unet":["diffusers.evil","A"]}"#),
        ("class with a path", r#"{"_class_name":"XPipeline","unet":["diffusers","a.b.C"]}"#),
        ("system", r#"{"_class_name":"XPipeline","x":["os","system"]}"#),
        ("half a pair", r#"{"_class_name":"XPipeline","x":["os",null]}"#),
        ("three", r#"{"_class_name":"XPipeline","x":["evil","C",{"a":1}]}"#),
        ("class that is no name", r#"{"_class_name":"../evil","a":1}"#),
    ] {
        refused(what, "model_index.json", text.as_bytes(), CODE);
    }
    refused("no class", "sub/model_index.json", br#"{"x":["os","system"]}"#, CODE);
    for path in ["../x", "/etc", "a/../../b", "C:x", "a\\\\b", "~/x"] {
        let text = format!(
            r#"[{{"idx":0,"name":"0","path":"{path}","type":"sentence_transformers.models.Transformer"}}]"#
        );
        refused(path, "modules.json", text.as_bytes(), PATH);
    }
}

#[test]
fn an_index_names_files_of_the_model_alone() {
    for path in ["../../etc/passwd", "/etc/passwd", "a/../../b", "~/x", "C:x"] {
        let text = format!(r#"{{"metadata":{{}},"weight_map":{{"w":"ok.safetensors","v":"{path}"}}}}"#);
        refused(path, "model.safetensors.index.json", text.as_bytes(), PATH);
    }
    refused("list", "x.index.json", br#"{"weight_map":{"w":["a"]}}"#, PATH);
    loads("index", "x.index.json", br#"{"weight_map":{"w":"sub/a.safetensors"}}"#);
}

#[test]
fn numbers_of_python_are_read_and_their_neighbours_are_not() {
    loads("numbers", "trainer_state.json", br#"{"a":[NaN,Infinity,-Infinity,-1]}"#);
    for text in [r#"{"a":nan}"#, r#"{"a":-NaN}"#, r#"{"a":Infinit}"#, r#"{"a":NaNa}"#, r#"{"a":+1}"#] {
        refused(text, "config.json", text.as_bytes(), "SR-INS-0060");
    }
    // A header of safetensors is JSON and nothing more.
    let header = r#"{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,0]}}"#;
    refused("header", "m.safetensors", &crate::support::safetensors(header, b""), "SR-INS-0040");
}

#[test]
fn yaml_that_no_ending_tells_is_looked_at_for_objects() {
    let hostile = "a: 1\nb: !!python/object/apply:os.system [id]\n";
    refused("no ending", "MLmodel", hostile.as_bytes(), CODE);
    refused("front matter", "README.md", format!("---\n{hostile}---\n# Card\n").as_bytes(), CODE);
    refused("flow", "config.yaml", b"{a: !!python/object/apply:os.system [id]}\n", CODE);
    loads("prose", "README.md", format!("# Card\n\n    {hostile}").as_bytes());
}

#[test]
fn yaml_that_builds_objects_is_refused() {
    for text in [
        "a: !!python/object/apply:os.system ['id']\n",
        "- !!python/name:os.system\n",
        "%TAG !p! tag:yaml.org,2002:python/\n---\na: !p!object/apply:os.system [id]\n",
        "a: !<tag:yaml.org,2002:python/object/apply:os.system> [id]\n",
        "model: !new:evil.Model\n",
        "x: [1, !apply:os.system {a: 1}]\n",
        "!name:evil.Model\n",
        "a:\n  - !include other.yaml\n",
        "model:\n  _target_: os.system\n",
        "model: {_target_: os.system}\n",
        "model: { a: 1, \"_target_\": os.system }\n",
        "\"\\x5ftarget_\": os.system\n",
        "'_target_' : os.system\n",
        "? _target_\n: os.system\n",
        "target: ldm.models.diffusion.ddpm.LatentDiffusion\n",
        "- class_path: evil.Model\n",
        "trust_remote_code: true\n",
        "loader_module: mlflow.pyfunc\n",
        "func: os.system # note\n",
        "a: &x !evil 1\n",
    ] {
        refused(text, "model_config.yaml", text.as_bytes(), CODE);
        refused(text, "CONFIG.YML", text.as_bytes(), CODE);
    }
}

/// A line of many colons and tags costs as much as its length.
#[test]
fn long_lines_of_yaml_are_looked_at_once() {
    for part in [":", "a: ", "a: ! ", "{a: ", "!x", "- ! &a "] {
        let text = part.repeat(2_000_000 / part.len());
        crate::support::inspect("c.yaml", text.as_bytes());
    }
    let long = format!("{}\n_target_: os.system\n", "a: ".repeat(100_000));
    refused("after a long line", "c.yaml", long.as_bytes(), CODE);
}
