// Marches a ray through the volumes for each pixel, at steps of equal length.
//
// It is compiled for one MODE each, with GLOWS where the second volume is shown, and with MARKS where
// a shell around the active voxels is: a browser's own software runs through both sides of an `if`.

uniform mat4 screenToWorld;       // world space here begins in the middle of what is shown
uniform vec3 lower, upper;        // the box that is shown, in voxels of the first volume
uniform float stepLength;         // in world units
uniform float jitter;             // of this frame: 0.5 puts every sample in the middle of its step
uniform bool dither;              // whether pixels are shifted against one another
uniform float density;            // absorption a world unit, for a value of 1
uniform float glow;               // light a world unit that a value of 1 of the second volume sends
uniform vec2 window;              // values that the ends of the colour map stand for
uniform vec2 glowWindow;
uniform float isovalue;
uniform float clear;              // the value that lets all light through
uniform float voxel;              // edge of a voxel in world units
uniform vec3 toLight;
uniform vec3 lightColor, ambient, albedo;
uniform vec3 lightLower, lightSize;
uniform sampler3D lightVolume;    // the share of the light that reaches a place
uniform sampler2D colors;         // of values: red, green, blue, opacity
uniform sampler2D glowColors;
uniform vec3 upward;              // in world space

in vec2 at;
out vec4 shown;

const int MOST_STEPS = 8192;
const vec3 MARK = vec3(0.55, 0.3, 0.95);

float hash(vec2 pixel) {
    return fract(52.9829189 * fract(dot(pixel, vec2(0.06711056, 0.00583715))));
}

vec3 place(mat4 toVoxels, vec3 world) { return (toVoxels * vec4(world, 1.0)).xyz; }
vec3 direction(mat4 toVoxels, vec3 world) { return mat3(toVoxels) * world; }

// The direction in which values grow, in world space.
vec3 gradient(vec3 world) {
    vec2 e = vec2(voxel, 0.0);
    return vec3(
        lookA(place(volumeA.toVoxels, world + e.xyy)) - lookA(place(volumeA.toVoxels, world - e.xyy)),
        lookA(place(volumeA.toVoxels, world + e.yxy)) - lookA(place(volumeA.toVoxels, world - e.yxy)),
        lookA(place(volumeA.toVoxels, world + e.yyx)) - lookA(place(volumeA.toVoxels, world - e.yyx)));
}

float lit(vec3 world) {
    return textureLod(lightVolume, (world - lightLower) / lightSize, 0.0).r;
}

vec3 surface(vec3 world, vec3 ray) {
    vec3 normal = gradient(world);
    float length2 = dot(normal, normal);
    normal = length2 > 0.0 ? normal * inversesqrt(length2) : -ray;
    if (dot(normal, ray) > 0.0) normal = -normal;
    float diffuse = max(dot(normal, toLight), 0.0);
    float sky = 0.5 + 0.5 * dot(normal, upward);
    vec3 half_ = normalize(toLight - ray);
    float shine = pow(max(dot(normal, half_), 0.0), 40.0) * 0.25 * step(0.0, diffuse - 1e-3);
    return albedo * (lightColor * diffuse * 0.7 + ambient * (0.45 + 0.75 * sky)) + lightColor * shine;
}

// Whether the voxel at a place of the first volume is active, and how long its edge is at its level.
bool isActive(vec3 at, out float edge) {
    edge = 1.0;
    ivec3 cell = ivec3(floor(at / CELL));
    if (!within(volumeA, cell)) return false;
    uvec4 page = texelFetch(pagesA, cell, 0);
    uint level = page.a & LEVEL;
    if ((page.a & ACTIVE) == 0u) return false;
    if (level == NO_BRICK) return true;
    edge = exp2(float(level));
    float extent = min(volumeA.brick * edge, REGION);
    vec3 inner = floor((at - floor(at / extent) * extent) / edge);
    return texelFetch(atlasA, ivec3(vec3(page.xyz) * (volumeA.brick + 1.0) + inner), 0).g > 0.5;
}

// Whether the cell at a place of the first volume has active voxels.
bool hasActive(vec3 at) {
    ivec3 cell = ivec3(floor(at / CELL));
    return within(volumeA, cell) && (texelFetch(pagesA, cell, 0).a & ACTIVE) != 0u;
}

// The side of a voxel by which a ray came in: a shade of violet, darker at the borders of leaf nodes.
vec4 marked(vec3 at, vec3 step, float edge) {
    vec3 back = (at - floor(at / edge) * edge - edge * vec3(lessThan(step, vec3(0)))) / step;
    back = mix(back, vec3(1e9), lessThan(abs(step), vec3(1e-9)));
    bvec3 side = lessThanEqual(back, vec3(min(back.x, min(back.y, back.z))));
    float shade = side.x ? 0.75 : side.y ? 1.0 : 0.6;
    vec3 inLeaf = fract((at - step * min(back.x, min(back.y, back.z))) / 8.0);
    vec3 border = min(inLeaf, 1.0 - inLeaf) + vec3(side);
    float line = 1.0 - smoothstep(0.03, 0.06, min(border.x, min(border.y, border.z)));
    return vec4(MARK * shade * (1.0 - 0.5 * line), 0.3 + 0.3 * line);
}

void main() {
    vec4 near4 = screenToWorld * vec4(at * 2.0 - 1.0, -1.0, 1.0);
    vec4 far4 = screenToWorld * vec4(at * 2.0 - 1.0, 1.0, 1.0);
    vec3 eye = near4.xyz / near4.w;
    vec3 ray = normalize(far4.xyz / far4.w - eye);

    vec3 eyeA = place(volumeA.toVoxels, eye), rayA = direction(volumeA.toVoxels, ray);
    vec3 one = (lower - eyeA) / rayA, other = (upper - eyeA) / rayA;
    vec3 first = min(one, other), last = max(one, other);
    float enter = max(max(first.x, max(first.y, first.z)), 0.0);
    float leave = min(last.x, min(last.y, last.z));
    shown = vec4(0.0);
    if (leave <= enter) return;

    vec3 color = vec3(0.0);
    float through = 1.0;
    float best = clear;
    vec4 shell = vec4(0.0);
    float shift = dither ? fract(jitter + hash(gl_FragCoord.xy)) : jitter;
    float begin = enter + shift * stepLength;
    vec3 beginA = place(volumeA.toVoxels, eye + begin * ray);
    vec3 beginB = place(volumeB.toVoxels, eye + begin * ray);
    vec3 stepA = direction(volumeA.toVoxels, ray * stepLength);
    vec3 stepB = direction(volumeB.toVoxels, ray * stepLength);
    int count = int(min(ceil((leave - begin) / stepLength), float(MOST_STEPS)));
    float before = volumeA.outside;

    for (int number = 0; number < count && through > 0.0;) {
        // What lies ahead until the ray leaves a block or a cell: it is marched through, or skipped.
        vec3 atA = beginA + float(number) * stepA;
        Part a = partA(volumeA, atA, stepA);
        float steps = a.steps;
        bool isVisible = a.isVisible;
#if GLOWS
        Part b = partB(volumeB, beginB + float(number) * stepB, stepB);
        steps = min(steps, b.steps);
        isVisible = isVisible || b.isVisible;
#endif
#if MODE == MAXIMUM
        isVisible = isVisible && max(a.range.g - clear, clear - a.range.r) > abs(best - clear);
#elif MODE == SURFACE
        // The ray may have come through the surface in its last step, or begin inside of it.
        isVisible = isVisible || (a.range.r < isovalue) != (before < isovalue);
#endif
#if MARKS
        isVisible = isVisible || (shell.a == 0.0 && hasActive(atA));
#endif
        int last = min(max(number + int(ceil(steps)), number + 1), count);
        if (!isVisible) number = last;
        for (; number < last && through > 0.0; number++) {
            vec3 at = beginA + float(number) * stepA;
            float value = valueA(a, at);
#if MARKS
            float edge;
            if (shell.a == 0.0 && isActive(at, edge)) shell = marked(at, stepA, edge);
#endif
#if MODE == FOG
            float thickness = max(value - window.x, 0.0) * density;
            vec3 world = eye + (begin + float(number) * stepLength) * ray;
            vec3 light = albedo * (lightColor * lit(world) + ambient);
#elif MODE == WINDOW
            vec4 own = textureLod(colors, vec2((value - window.x) / (window.y - window.x), 0.5), 0.0);
            float thickness = own.a * density;
            vec3 light = own.rgb;
#endif
#if MODE == FOG || MODE == WINDOW
            float held = exp(-thickness * stepLength);
            color += through * (1.0 - held) * light;
#if GLOWS
            float heat = valueB(b, beginB + float(number) * stepB);
            heat = (heat - glowWindow.x) / (glowWindow.y - glowWindow.x);
            color += through * textureLod(glowColors, vec2(heat, 0.5), 0.0).rgb * glow * stepLength;
#endif
            through *= held;
            through = through < 0.003 ? 0.0 : through;
#elif MODE == MAXIMUM
            best = abs(value - clear) > abs(best - clear) ? value : best;
#elif MODE == SURFACE
            if ((value < isovalue) != (before < isovalue)) {
                float high = begin + float(number) * stepLength, low = high - stepLength;
                for (int turn = 0; turn < 8 && number > 0; turn++) {
                    float middle = 0.5 * (low + high);
                    float found = lookA(place(volumeA.toVoxels, eye + middle * ray));
                    if ((found < isovalue) == (before < isovalue)) low = middle; else high = middle;
                }
                color = surface(eye + high * ray, ray);
                through = 0.0;
            }
            before = value;
#endif
        }
    }
#if MODE == MAXIMUM
    vec4 own = textureLod(colors, vec2((best - window.x) / (window.y - window.x), 0.5), 0.0);
    float seen = smoothstep(0.0, 0.05, own.a);
    color = own.rgb * seen;
    through = 1.0 - seen;
#endif
    shown = vec4(mix(color, shell.rgb, shell.a), 1.0 - through * (1.0 - shell.a));
}
