// What the marching shaders share: looking up volumes that lie in bricks.
//
// A volume is cut into cells of 32^3 voxels. The page of a cell names the slot of its brick in the
// atlas and the brick's level; of a cell without a brick, its range holds the one value of all of
// its voxels. A brick holds every 2^level-th voxel, and one more sample at its upper sides, so that
// the texture unit interpolates within it. It is cut into blocks of 8^3 samples, each with a range.

// It is compiled for one MODE.
precision highp float;
precision highp int;
precision highp sampler3D;
precision highp usampler3D;

#define FOG 0
#define SURFACE 1
#define WINDOW 2
#define MAXIMUM 3

const float CELL = 32.0;
const float REGION = 128.0;
const float BLOCK = 8.0;
const uint LEVEL = 15u;           // bits of a page that hold its level
const uint NO_BRICK = 15u;        // in place of a level
const uint ACTIVE = 16u;          // bit of a page whose cell has active voxels

struct Volume {
    mat4 toVoxels;    // world space to voxels of the volume's cells, from their first corner
    ivec3 cells;      // along each axis; 0 where the volume is absent
    float brick;      // samples of a brick along each axis, without its border
    float blocks;     // blocks of a brick along each axis
    vec3 texel;       // 1 / size of the atlas
    float outside;    // value beyond the cells
    vec2 hidden;      // what has no value outside of these can be skipped
};

// A part of a volume that a ray goes through: a block of a brick, a cell, or what lies beyond.
struct Part {
    float steps;      // of the ray until it leaves the part
    bool isVisible;   // whether it has values that can be seen
    vec2 range;       // least and largest value
    bool isBrick;     // else all of it has the least value
    vec3 scale, origin;   // from voxels to coordinates of the atlas: scale * (voxel - origin)
};

uniform Volume volumeA;
uniform Volume volumeB;
uniform usampler3D pagesA, pagesB;
uniform sampler3D rangesA, rangesB;
uniform sampler3D blocksA, blocksB;
uniform sampler3D atlasA, atlasB;

bool within(const Volume volume, ivec3 cell) {
    return all(greaterThanEqual(cell, ivec3(0))) && all(lessThan(cell, volume.cells));
}

// The steps of a ray until it leaves a cube.
float stepsWithin(vec3 corner, float edge, vec3 at, vec3 step) {
    vec3 ends = corner + vec3(greaterThan(step, vec3(0))) * edge;
    vec3 far = mix((ends - at) / step, vec3(1e9), lessThan(abs(step), vec3(1e-9)));
    return max(min(far.x, min(far.y, far.z)), 0.0);
}

bool isVisible(const Volume volume, vec2 range) {
#if MODE == SURFACE
    return range.r < volume.hidden.x && range.g >= volume.hidden.x;   // a surface goes through it
#else
    return range.r < volume.hidden.x || range.g > volume.hidden.y;
#endif
}

#define PART(NAME, PAGES, RANGES, BLOCKS)                                                         \
    Part NAME(const Volume volume, vec3 at, vec3 step) {                                          \
        Part part;                                                                                \
        part.isBrick = false;                                                                     \
        if (volume.cells.x == 0) {                                                                \
            part.steps = 1e9;                                                                     \
            part.isVisible = false;                                                               \
            return part;                                                                          \
        }                                                                                         \
        vec3 cell = floor(at / CELL);                                                             \
        bool isWithin = within(volume, ivec3(cell));                                              \
        part.range = isWithin ? texelFetch(RANGES, ivec3(cell), 0).rg : vec2(volume.outside);     \
        part.isVisible = isVisible(volume, part.range);                                           \
        uvec4 page = isWithin ? texelFetch(PAGES, ivec3(cell), 0) : uvec4(NO_BRICK);              \
        uint level = page.a & LEVEL;                                                              \
        if (level == NO_BRICK || !part.isVisible) {                                               \
            part.steps = stepsWithin(cell * CELL, CELL, at, step);                                \
            return part;                                                                          \
        }                                                                                         \
        float stride = exp2(float(level));                                                        \
        float extent = min(volume.brick * stride, REGION);                                        \
        vec3 corner = floor(at / extent) * extent;                                                \
        vec3 block = floor((at - corner) / (BLOCK * stride));                                     \
        ivec3 place = ivec3(vec3(page.xyz) * volume.blocks + block);                              \
        part.range = texelFetch(BLOCKS, place, 0).rg;                                             \
        part.isVisible = isVisible(volume, part.range);                                           \
        part.isBrick = true;                                                                      \
        part.scale = volume.texel / stride;                                                       \
        part.origin = corner - stride * (vec3(page.xyz) * (volume.brick + 1.0) + 0.5);            \
        float edge = min(BLOCK * stride, extent);                                                 \
        part.steps = stepsWithin(corner + block * edge, edge, at, step);                          \
        return part;                                                                              \
    }
PART(partA, pagesA, rangesA, blocksA)
PART(partB, pagesB, rangesB, blocksB)

float valueA(const Part part, vec3 at) {
    if (!part.isBrick) return part.range.r;
    return textureLod(atlasA, part.scale * (at - part.origin), 0.0).r;
}

float valueB(const Part part, vec3 at) {
    if (!part.isBrick) return part.range.r;
    return textureLod(atlasB, part.scale * (at - part.origin), 0.0).r;
}

// A value of the first volume anywhere.
float lookA(vec3 at) {
    ivec3 cell = ivec3(floor(at / CELL));
    if (!within(volumeA, cell)) return volumeA.outside;
    uvec4 page = texelFetch(pagesA, cell, 0);
    uint level = page.a & LEVEL;
    if (level == NO_BRICK) return texelFetch(rangesA, cell, 0).r;
    float stride = exp2(float(level));
    float extent = min(volumeA.brick * stride, REGION);
    vec3 inner = (at - floor(at / extent) * extent) / stride;
    vec3 slot = vec3(page.xyz) * (volumeA.brick + 1.0);
    return textureLod(atlasA, (slot + inner + 0.5) * volumeA.texel, 0.0).r;
}
