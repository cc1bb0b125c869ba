/**
 * Chat templates by name, for models that carry none. They are the published formats of the model families, with the
 * assistant's words and the mark that ends them between generation marks.
 */
import type { ChatTemplate } from "./ChatTemplate.ts"
import { type JinjaTemplateOptions, jinjaTemplate } from "./jinjaTemplate.ts"

const chatml = `
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}{{- message.content + '<|im_end|>' }}{%- endgeneration %}
    {%- else %}
        {{- message.content + '<|im_end|>' }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}`

const zephyr = `
{%- for message in messages %}
    {{- '<|' + message.role + '|>\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}{{- message.content + eos_token }}{%- endgeneration %}
    {%- else %}
        {{- message.content + eos_token }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{%- endif %}`

const llama3 = `
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}{{- message.content | trim + '<|eot_id|>' }}{%- endgeneration %}
    {%- else %}
        {{- message.content | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}`

const llama2 = `
{%- set ns = namespace(system='') %}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {%- set ns.system = '<<SYS>>\\n' + message.content + '\\n<</SYS>>\\n\\n' %}
    {%- elif message.role == 'user' %}
        {{- bos_token + '[INST] ' + ns.system + message.content | trim + ' [/INST]' }}
        {%- set ns.system = '' %}
    {%- elif message.role == 'assistant' %}
        {%- generation %}{{- ' ' + message.content | trim + ' ' + eos_token }}{%- endgeneration %}
    {%- else %}
        {{- raise_exception('llama-2 has the roles system, user and assistant') }}
    {%- endif %}
{%- endfor %}`

const alpaca = `
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {{- messages[0].content + '\\n\\n' }}
{%- else %}
    {{- 'Below is an instruction that describes a task. Write a response that appropriately completes the request.\\n\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- '### Instruction:\\n' + message.content + '\\n\\n### Response:\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- generation %}{{- message.content + eos_token }}{%- endgeneration %}
        {{- '\\n\\n' if not loop.last else '' }}
    {%- endif %}
{%- endfor %}`

const sources = { alpaca, chatml, "llama-2": llama2, "llama-3": llama3, zephyr }
export type TemplateName = keyof typeof sources
export const templateNames = Object.keys(sources) as ReadonlyArray<TemplateName> // keys of a literal

export const namedTemplate = (name: TemplateName, options: JinjaTemplateOptions = {}): ChatTemplate =>
  jinjaTemplate(sources[name], options)
