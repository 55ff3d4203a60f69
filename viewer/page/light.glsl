// How much of the light reaches the middle of each cell of the light volume: one slice of it.

uniform vec3 lightLower, lightSize;
uniform vec3 toLight;
uniform float slice;              // of the third axis, 0 to 1
uniform float density;
uniform float stepLength;

in vec2 at;
out vec4 shown;

const int STEPS = 512;

void main() {
    vec3 world = lightLower + vec3(at, slice) * lightSize;
    vec3 stepA = mat3(volumeA.toVoxels) * (toLight * stepLength);
    vec3 from = (volumeA.toVoxels * vec4(world, 1.0)).xyz;
    float sum = 0.0;
    for (int number = 0; number < STEPS; number++) {
        vec3 place = from + (float(number) + 0.5) * stepA;
        vec3 beyond = abs(place / (vec3(volumeA.cells) * CELL) - 0.5);
        if (max(beyond.x, max(beyond.y, beyond.z)) > 0.5) break;
        float skip = emptyA(volumeA, place, stepA);
        if (skip > 0.0) { number += int(max(ceil(skip), 1.0)) - 1; continue; }
        sum += max(lookA(volumeA, place), 0.0);
        if (sum * density * stepLength > 7.0) break;
    }
    shown = vec4(exp(-sum * density * stepLength));
}
