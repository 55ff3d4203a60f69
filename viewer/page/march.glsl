// Marches a ray through the volumes for each pixel, at steps of equal length.

uniform mat4 screenToWorld;       // world space here begins in the middle of what is shown
uniform vec3 lower, upper;        // the box that is shown, in voxels of the first volume
uniform float stepLength;         // in world units
uniform float jitter;             // of this frame: 0.5 puts every sample in the middle of its step
uniform bool dither;              // whether pixels are shifted against one another
uniform int mode;                 // FOG, ...
uniform float density;            // absorption a world unit, for a value of 1
uniform float glow;               // light a world unit that a value of 1 of the second volume sends
uniform vec2 window;              // values that the ends of the colour map stand for
uniform vec2 glowWindow;
uniform float isovalue;
uniform float voxel;              // edge of a voxel in world units
uniform vec3 toLight;
uniform vec3 lightColor, ambient, albedo;
uniform vec3 lightLower, lightSize;
uniform sampler3D lightVolume;    // the share of the light that reaches a place
uniform sampler2D colors;         // of values: red, green, blue, opacity
uniform sampler2D glowColors;
uniform int glows;                // whether the second volume is shown
uniform bool marks;               // whether a shell around the active voxels is drawn
uniform vec3 upward;              // in world space

in vec2 at;
out vec4 shown;

const int FOG = 0, SURFACE = 1, WINDOW = 2, MAXIMUM = 3;
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
        lookA(volumeA, place(volumeA.toVoxels, world + e.xyy)) - lookA(volumeA, place(volumeA.toVoxels, world - e.xyy)),
        lookA(volumeA, place(volumeA.toVoxels, world + e.yxy)) - lookA(volumeA, place(volumeA.toVoxels, world - e.yxy)),
        lookA(volumeA, place(volumeA.toVoxels, world + e.yyx)) - lookA(volumeA, place(volumeA.toVoxels, world - e.yyx)));
}

float lit(vec3 world) {
    return textureLod(lightVolume, (world - lightLower) / lightSize, 0.0).r;
}

vec4 surface(vec3 world, vec3 ray) {
    vec3 normal = gradient(world);
    float length2 = dot(normal, normal);
    normal = length2 > 0.0 ? normal * inversesqrt(length2) : -ray;
    if (dot(normal, ray) > 0.0) normal = -normal;
    float diffuse = max(dot(normal, toLight), 0.0);
    float sky = 0.5 + 0.5 * dot(normal, upward);
    vec3 half_ = normalize(toLight - ray);
    float shine = pow(max(dot(normal, half_), 0.0), 40.0) * 0.25 * step(0.0, diffuse - 1e-3);
    return vec4(albedo * (lightColor * diffuse * 0.7 + ambient * (0.45 + 0.75 * sky)) + lightColor * shine, 1.0);
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

// The steps of a ray until it leaves the cell that it is in, where that has no active voxel; else 0.
float inactive(vec3 at, vec3 step) {
    ivec3 cell = ivec3(floor(at / CELL));
    if (within(volumeA, cell) && (texelFetch(pagesA, cell, 0).a & ACTIVE) != 0u) return 0.0;
    return stepsWithin(cell, at, step);
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
    float best = -1e30;
    float shift = dither ? fract(jitter + hash(gl_FragCoord.xy)) : jitter;
    vec3 stepA = direction(volumeA.toVoxels, ray * stepLength);
    vec3 stepB = direction(volumeB.toVoxels, ray * stepLength);
    int count = int(min(ceil((leave - enter) / stepLength), float(MOST_STEPS)));
    float before = 0.0;
    bool hasBefore = false;
    vec4 shell = vec4(0.0);

    for (int number = 0; number < count; number++) {
        float t = enter + (float(number) + shift) * stepLength;
        if (t > leave) break;
        vec3 world = eye + t * ray;
        vec3 atA = place(volumeA.toVoxels, world);
        vec3 atB = place(volumeB.toVoxels, world);
        float skip = emptyA(volumeA, atA, stepA);
        if (glows != 0) skip = min(skip, emptyB(volumeB, atB, stepB));
        if (marks && shell.a == 0.0) {
            skip = min(skip, inactive(atA, stepA));
            float edge;
            if (skip == 0.0 && isActive(atA, edge)) shell = marked(atA, stepA, edge);
        }
        if (skip > 0.0) {
            number += int(max(ceil(skip), 1.0)) - 1;
            hasBefore = false;
            continue;
        }
        float value = lookA(volumeA, atA);
        if (mode == SURFACE) {
            bool crossed = hasBefore && (value < isovalue) != (before < isovalue);
            bool begins = !hasBefore && number == 0 && value < isovalue;
            if (crossed || begins) {
                float low = t - stepLength, high = t;
                for (int turn = 0; turn < 8 && crossed; turn++) {
                    float middle = 0.5 * (low + high);
                    float found = lookA(volumeA, place(volumeA.toVoxels, eye + middle * ray));
                    if ((found < isovalue) == (before < isovalue)) low = middle; else high = middle;
                }
                vec4 own = surface(eye + high * ray, ray);
                color = own.rgb;
                through = 0.0;
                break;
            }
            before = value;
            hasBefore = true;
        } else if (mode == MAXIMUM) {
            best = max(best, value);
        } else {
            float thickness;
            vec3 light;
            if (mode == FOG) {
                thickness = max(value, 0.0) * density;
                light = albedo * (lightColor * lit(world) + ambient);
            } else {
                vec4 own = textureLod(colors, vec2((value - window.x) / (window.y - window.x), 0.5), 0.0);
                thickness = own.a * density;
                light = own.rgb;
            }
            float held = exp(-thickness * stepLength);
            color += through * (1.0 - held) * light;
            if (glows != 0) {
                float heat = lookB(volumeB, atB);
                float place_ = (heat - glowWindow.x) / (glowWindow.y - glowWindow.x);
                color += through * textureLod(glowColors, vec2(place_, 0.5), 0.0).rgb * glow * stepLength;
            }
            through *= held;
            if (through < 0.003) { through = 0.0; break; }
        }
    }
    if (mode == MAXIMUM && best > -1e29) {
        vec4 own = textureLod(colors, vec2((best - window.x) / (window.y - window.x), 0.5), 0.0);
        color = own.rgb * step(1e-6, own.a);
        through = 1.0 - step(1e-6, own.a);
    }
    shown = vec4(mix(color, shell.rgb, shell.a), 1.0 - through * (1.0 - shell.a));
}
