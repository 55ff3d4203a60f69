// Puts what was marched on the screen: over the background, in the colours of a display.

precision highp float;
uniform sampler2D marched;
uniform vec3 backdropTop, backdropBottom;   // linear
uniform float exposure;                     // of light; 0 leaves colours as they are
in vec2 at;
out vec4 shown;

vec3 display(vec3 linear) {
    return mix(12.92 * linear, 1.055 * pow(max(linear, 0.0), vec3(1.0 / 2.4)) - 0.055, step(0.0031308, linear));
}

void main() {
    vec4 own = texture(marched, at);
    vec3 color = own.rgb + mix(backdropBottom, backdropTop, at.y) * (1.0 - own.a);
    if (exposure > 0.0) color = 1.0 - exp(-color * exposure);
    shown = vec4(display(clamp(color, 0.0, 1.0)), 1.0);
}
