// How much of the light reaches the middle of each cell of the light volume: one slice of it.

uniform vec3 lightLower, lightSize;
uniform vec3 toLight;
uniform float slice;              // of the third axis, 0 to 1
uniform float thin;               // the largest value that lets all light through
uniform float density;            // absorption a world unit, for a value of 1 above that
uniform float stepLength;

in vec2 at;
out vec4 shown;

const int STEPS = 512;

void main() {
    vec3 world = lightLower + vec3(at, slice) * lightSize;
    vec3 stepA = mat3(volumeA.toVoxels) * (toLight * stepLength);
    vec3 from = (volumeA.toVoxels * vec4(world, 1.0)).xyz;
    float sum = 0.0;
    for (int number = 0; number < STEPS && sum * density * stepLength < 7.0;) {
        vec3 at = from + (float(number) + 0.5) * stepA;
        vec3 beyond = abs(at / (vec3(volumeA.cells) * CELL) - 0.5);
        if (max(beyond.x, max(beyond.y, beyond.z)) > 0.5) break;
        Part part = partA(volumeA, at, stepA);
        int last = number + max(int(ceil(part.steps)), 1);
        if (!part.isVisible) number = last;
        for (; number < last; number++)
            sum += max(valueA(part, from + (float(number) + 0.5) * stepA) - thin, 0.0);
    }
    shown = vec4(exp(-sum * density * stepLength));
}
