use super::*;
use crate::report::Severity;

fn findings(text: &str) -> Vec<Finding> {
    check(text, 0)
}

fn passes(text: &str) {
    assert_eq!(findings(text), [], "{text}");
}

fn refuses(text: &str) {
    assert!(findings(text).iter().any(|finding| finding.severity > Severity::Notice), "{text}");
}

#[test]
fn plain_templates_pass() {
    for text in [
        "",
        "no tags, { and } and %} and }} alone",
        "{{ bos_token }}{# a comment with {{ x.__class__ }} within #}",
        "{{ {'a': {'b': 1}}['a'] }}",
        "{{ x['role'] + \"\\n\" }}",
        "{{ x[0] }}{{ x[-1] }}{{ x[1:] }}{{ x[:-1] }}{{ x[::-1] }}{{ x[(x|length) - 1] }}",
        "{% for m in messages %}{{ messages[loop.index0 - 1].role }}{% endfor %}",
        "{% set i = messages|length - 1 %}{{ messages[i]['content'] }}",
        "{% set ns = namespace(i=0, last=-1) %}{% for m in messages %}{% set ns.i = ns.i + 1 %}{% endfor %}{{ messages[ns.i] }}",
        "{% for i in range(messages|length) %}{{ messages[i] }}{% endfor %}",
        "{% for k in tool %}{{ tool[k] }}{% endfor %}{% for k in tool.keys()|sort %}{{ tool[k] | tojson }}{% endfor %}",
        "{% for k, v in tool.items() %}{{ k }}: {{ v }} {{ tool[k] }}{% endfor %}",
        "{% set names = {'string': 'str', 'null': 'None'} %}{{ names[spec.type] }}",
        "{% set k = 'role' %}{{ m[k] }}{% for k2 in ['a', 'b'] %}{{ m[k2] }}{% endfor %}",
        "{%- macro m(x, keys=[]) -%}{% for k in x if k not in keys %}{{ x[k] is mapping }}{% endfor %}{%- endmacro -%}{{ m(tool, ['a']) }}{{ m(tool.function) }}",
        "{% if strftime_now is defined %}{% set d = strftime_now('%d %b %Y') %}{% else %}{% set d = 'x' %}{% endif %}",
        "{% if a is not none and b is string or c is not defined %}{% elif x not in [1, 2] %}{% else %}{% endif %}",
        "{{ raise_exception('bad') if messages[0]['role'] != 'user' }}",
        "{% generation %}{{ x }}{% endgeneration %}{% for a in b %}{% if a %}{% break %}{% else %}{% continue %}{% endif %}{% endfor %}",
        "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ x | map('upper') | join(', ') }}",
        "{{ x | reject('in', y) | list }}{{ x|select }}{{ x | default('a', true) | tojson(indent=2, ensure_ascii=False) }}",
        "{% set x %}a{{ b }}{% endset %}{% set y | trim %} a {% endset %}{% filter upper %}a{% endfilter %}{% with a = 1, b = 2 %}{{ a }}{% endwith %}",
        "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}x{% endcall %}",
        "{{ '%s' % x }}{{ '%s-%s' | format(a, b) }}",
        "{{ x.format }}{{ 'a' 'b' }}{{ 1.5e3 }}{{ 1_000 }}{{ \"\\u00e9\" }}",
        "{{ loop.cycle('a', 'b') }}{{ 'a' if x else 'b' }}{{ x.strip('\\n').split('</think>')[-1].lstrip() }}",
        "{% for (a, b) in c %}{% else %}{% endfor %}{{ m.im_start }}{{ m.f_score }}",
    ] {
        passes(text);
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    for text in [
        "{{ x",
        "{% if x %}",
        "{% endif %}",
        "{% if x %}{% endfor %}",
        "{% for a in b %}{% else %}{% endif %}",
        "{# open",
        "{{ x }",
        "{{ [1) }}",
        "{{ 'open }}",
        "{{ \"\\x5\" }}",
        "{{ \"\\N{LOW LINE}\" }}",
        "{{ ｃlass }}",
        "{{ x.ｃlass }}",
        "{{ a b }}",
        "{{ 1a }}",
        "{{ 1_ }}",
        "{{ 1__0 }}",
        "{{ 01 }}",
        "{{ 1.5_ }}",
        "{{ $x }}",
        "{% break %}",
        "{% for a in b recursive %}{% endfor %}",
        "{{ f(*args) }}",
        "{{ f(**args) }}",
        "{{ x[1, 2] }}",
    ] {
        refuses(text);
    }
    refuses(&format!("{{{{ {}x{} }}}}", "(".repeat(500), ")".repeat(500)));
    refuses(&format!("{{{{ x{} }}}}", ".a".repeat(500)));
    refuses(&"{% if x %}".repeat(500));
    refuses(&format!("{{{{ {}x }}}}", "x if y else ".repeat(500)));
    refuses(&"x".repeat(limits::TEMPLATE_BYTES + 1));
}

#[test]
fn work_is_bounded() {
    // Each name is bound to the two before it: followed without a bound, that doubles at every step.
    let mut text = String::from("{% set a0 = 1 %}{% set a1 = 1 %}");
    for at in 2..2_000 {
        text.push_str(&format!("{{% set a{at} = a{} + a{} %}}", at - 1, at - 2));
    }
    text.push_str("{{ x[a1999] }}");
    refuses(&text);
    // A chain that is within the bounds is followed.
    passes("{% set a = 1 %}{% set b = a + a %}{% set c = b + b %}{{ x[c] }}");
    // Long texts and many operands are no depth.
    passes(&format!("{{{{ {} }}}}", vec!["x"; 5_000].join(" ~ ")));
}

#[test]
fn names_that_refer_to_each_other_end() {
    passes("{% set a = 0 %}{% set a = a + 1 %}{{ x[a] }}");
    refuses("{% set a = b %}{% set b = a %}{% set a = x ~ 'y' %}{{ x[a] }}");
}

/// Every family of gadgets that reaches code from a template, in several spellings.
const GADGETS: &[&str] = &[
    // Attributes and keys with an underscore in front.
    "{{ x.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ x._private }}",
    "{{ x['__class__'] }}",
    "{{ x[\"\\x5f\\x5fclass\\x5f\\x5f\"] }}",
    "{{ x['\\u005f_class__'] }}",
    "{{ x['\\137\\137class__'] }}",
    "{{ x['_' '_class__'] }}",
    "{{ ().__class__.__base__ }}",
    "{{ x.a.b['c'].__init__ }}",
    "{% set x.__class__ = 1 %}",
    "{% set __builtins__ = 1 %}",
    "{{ __import__('os') }}",
    "{{ _x }}",
    // Frames and the method resolution order have no underscore.
    "{{ (x|map('upper')).gi_frame.f_globals }}",
    "{{ x.mro() }}",
    "{{ x['mro'] }}",
    "{{ x.f_builtins }}",
    "{{ x.func_globals }}",
    // Names that are put together.
    "{{ x['__cl' + 'ass__'] }}",
    "{{ x['__cl' ~ 'ass__'] }}",
    "{{ x['__cl%s__' % 'ass'] }}",
    "{{ x['__ssalc__'[::-1]] }}",
    "{{ x['a__class__'[1:]] }}",
    "{{ x[('_', '_class__')|join] }}",
    "{{ x['__CLASS__'|lower] }}",
    "{{ x['__class__ '.strip()] }}",
    "{{ x['##class##'.replace('#', '_')] }}",
    "{{ x['%s%s' | format('__cl', 'ass__')] }}",
    "{{ x[['__class__'][0]] }}",
    "{{ x[['__class__'] | first] }}",
    "{{ x[{'k': '__class__'}['k']] }}",
    "{{ x['__class__' if true else 'a'] }}",
    "{{ x['a' and '__class__'] }}",
    "{{ x[('__class__')] }}",
    "{{ {'a': 1}['__cl' ~ 'ass__'] }}",
    "{{ {'a': 1}['__CLASS__' | lower] }}",
    "{% set t = {'a': 1} %}{% for k in ['__class__'] %}{{ t[k] }}{% endfor %}",
    "{% set t = {'a': 1} %}{% set k = '__class__' %}{{ t[k] }}",
    "{% set k = '__class__' %}{{ x[k] }}",
    "{% set k = 'role' %}{% set k = '__cl' ~ 'ass__' %}{{ x[k] }}",
    "{% set k %}__class__{% endset %}{{ x[k] }}",
    "{% set ns = namespace(k='__class__') %}{{ x[ns.k] }}",
    "{% set ns = namespace(k=0) %}{% set ns.k = '__cl' ~ 'ass__' %}{{ x[ns.k] }}",
    "{% for k in ['__class__'] %}{{ x[k] }}{% endfor %}",
    "{% for k, v in [('__cl' ~ 'ass__', 1)] %}{{ x[k] }}{% endfor %}",
    "{% for k, v in {'__class__': 1}.items() %}{{ x[k] }}{% endfor %}",
    "{% set l = ['__class__'] %}{% for k in l %}{{ x[k] }}{% endfor %}",
    "{% set l = 'a,__class__'.split(',') %}{% for k in l %}{{ x[k] }}{% endfor %}",
    "{% with k = '__cl' ~ 'ass__' %}{{ x[k] }}{% endwith %}",
    "{% macro m(k) %}{{ x[k] }}{% endmacro %}{{ m('__cl' ~ 'ass__') }}",
    "{% macro m(k='__class__') %}{{ x[k] }}{% endmacro %}{{ m() }}",
    "{% macro m(l) %}{% for k in l %}{{ x[k] }}{% endfor %}{% endmacro %}{{ m(l=['__class__']) }}",
    "{% macro m() %}{% for k in varargs %}{{ x[k] }}{% endfor %}{% endmacro %}{{ m('__class__') }}",
    "{% macro m() %}{{ caller('__class__') }}{% endmacro %}{% call(k) m() %}{{ x[k] }}{% endcall %}",
    "{% for k in ['a__class__'[1:]] %}{{ x[k] }}{% endfor %}",
    "{% set t = ['a__class__'] %}{% for k in [t[0][1:]] %}{{ x[k] }}{% endfor %}",
    "{% macro m(d) %}{{ x[d.k] }}{% endmacro %}{{ m({'k': '__class__'}) }}",
    "{% for k in ['__class__', 'a'] | sort %}{{ x[k] }}{% endfor %}",
    // Keys that the request brings, one after another.
    "{{ messages[messages[0].a][messages[0].b] }}",
    "{% for a in p %}{% set c = x[a] %}{% for b in p %}{{ c[b] }}{% endfor %}{% endfor %}",
    "{% for a in p %}{% for b in p %}{{ x[a].y[b] }}{% endfor %}{% endfor %}",
    "{% for a in p %}{{ x[a]() }}{% endfor %}",
    // Filters that look up attributes.
    "{{ x | attr('__class__') }}",
    "{{ x | attr('cl' ~ 'ass') }}",
    "{{ x | map(attribute='__class__') | list }}",
    "{{ x | map(attribute='a.__class__') | list }}",
    "{{ x | map(attribute='__cl' ~ 'ass__') | list }}",
    "{{ x | map(attribute=k) | list }}",
    "{{ x | map('attr', '__class__') | list }}",
    "{{ x | map('map', attribute='__class__') | list }}",
    "{{ x | map(k) }}",
    "{{ x | selectattr('__class__') | list }}",
    "{{ x | selectattr('a.__class__.b', 'equalto', 1) }}",
    "{{ x | selectattr(k) }}",
    "{{ x | rejectattr('__init__') }}",
    "{{ x | sort(attribute='__class__') }}",
    "{{ x | groupby('__class__') }}",
    "{{ x | sum('__class__') }}",
    "{{ x | sum(attribute='__class__') }}",
    "{{ x | unique(attribute='__class__') }}",
    "{{ x | min(attribute='__class__') }}",
    "{{ x | join(',', '__class__') }}",
    "{{ x | getattr('__class__') }}",
    "{{ x | xmlattr }}{{ x | pprint }}",
    "{% filter attr('__class__') %}x{% endfilter %}",
    "{% set x | attr('__class__') %}x{% endset %}",
    // Texts that name attributes.
    "{{ '{0.__class__}'.format(x) }}",
    "{{ '{0}'.format(x) }}",
    "{{ '{x}'.format_map(y) }}",
    "{{ x.a.format(y) }}",
    "{{ x.encode('utf-8') }}",
    // Functions and objects of the engine.
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ lipsum }}",
    "{{ cycler('a') }}",
    "{{ self.__init__ }}",
    "{{ self }}",
    "{{ namespace.__init__ }}",
    "{{ namespace }}",
    "{{ dict.mro() }}",
    "{{ dict }}{{ range }}",
    "{{ range.__class__ }}",
    "{{ url_for.__globals__ }}",
    "{{ get_flashed_messages }}",
    "{{ request.application }}",
    "{{ config.items() }}",
    "{% set f = range %}{{ f(1) }}",
    "{% set range = x %}{{ range(1) }}",
    "{% set loop = x %}{{ loop.cycle('a') }}",
    // Calls of what is not listed.
    "{{ popen('id') }}",
    "{{ x.popen('id') }}",
    "{{ x.system('id') }}",
    "{{ x() }}",
    "{{ x[0]() }}",
    "{{ (x | list)() }}",
    "{{ 'a'() }}",
    "{% macro m() %}{% endmacro %}{% set m = x.y %}{{ m() }}",
    "{% for m in x %}{{ m('id') }}{% endfor %}",
    "{% macro m(a) %}{% endmacro %}{% macro m(b) %}{% endmacro %}",
    "{{ x is callable }}",
    "{{ x is filter }}",
    // Tags that load, hide or run.
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% from 'x' import y %}",
    "{% extends 'x' %}",
    "{% block a %}{% endblock %}",
    "{% raw %}{{ x }}{% endraw %}",
    "{%- raw -%}{% endraw %}{{ x.__class__ }}",
    "{% autoescape false %}{% endautoescape %}",
    "{% do x.append(1) %}",
    "{% debug %}",
    "{% print(x) %}",
    "{% trans %}{% endtrans %}",
    // Comments do not nest.
    "{# {# #} {{ x.__class__ }} #}",
    "{#- -#}{{ x.__class__ }}",
    "{{ '#}' }}{# ' #}{{ x.__class__ }}{# ' #}",
    "{{ '%}' }}{% if '}}' %}{{ x.__class__ }}{% endif %}",
];

#[test]
fn gadgets_are_refused() {
    for text in GADGETS {
        refuses(text);
        // The same within what is never rendered, and after much that is harmless.
        refuses(&format!("{{% if false %}}{text}{{% endif %}}"));
        refuses(&format!("{}{text}", "{{ a['b'] }}\n".repeat(50)));
    }
}

#[test]
fn lists_have_no_name_twice() {
    for list in [names::METHODS, names::TESTS] {
        assert!(list.is_sorted_by(|a, b| a < b));
    }
    assert!(names::METHODS.iter().all(|method| names::is_plain(method) && !method.starts_with("format")));
}
