"""What agents may write to harm who looks at it, or what shows it."""

LONG = 10 * 2**20

SCRIPT = (
    "</pre></td><script>document.title = 'taken'</script><img src=x onerror=document.title='taken'>"
)

TEXTS = {
    "script": SCRIPT,
    "attribute": "\" autofocus onfocus=\"document.title='taken'\" x='",
    "template": "{{ site.form_token }}{% raw %}${7*7}",
    "ansi": "\x1b[31mred\x1b[0m\x1b]0;title\x07 bell",
    "bidi": "if access \u202e\u2066// admin\u2069 \u2066) {\u200f\u061c",
    "invisible": "pass\u200bword\u00adx\ufeff\x00\u2028line\x85",
    "long": "x" * LONG,
    "lines": "a\nb\n" * 200_000,
}
