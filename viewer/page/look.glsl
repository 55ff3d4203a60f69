// What the marching shaders share: looking up volumes that lie in bricks.
//
// A volume is cut into cells of 32^3 voxels. The page of a cell names the slot of its brick in the
// atlas and the brick's level; of a cell without a brick, its range holds the one value of all of
// its voxels. A brick holds every 2^level-th voxel, and one more sample at its upper sides, so that
// the texture unit interpolates within it.

precision highp float;
precision highp int;
precision highp sampler3D;
precision highp usampler3D;

const float CELL = 32.0;
const float REGION = 128.0;
const uint LEVEL = 15u;           // bits of a page that hold its level
const uint NO_BRICK = 15u;        // in place of a level
const uint ACTIVE = 16u;          // bit of a page whose cell has active voxels

struct Volume {
    mat4 toVoxels;    // world space to voxels of the volume's cells, from their first corner
    ivec3 cells;      // along each axis; 0 where the volume is absent
    float brick;      // samples of a brick along each axis, without its border
    vec3 texel;       // 1 / size of the atlas
    float outside;    // value beyond the cells
    vec2 visible;     // values of cells that are not all within can be skipped: least, most
};

uniform Volume volumeA;
uniform Volume volumeB;
uniform usampler3D pagesA, pagesB;
uniform sampler3D rangesA, rangesB;
uniform sampler3D atlasA, atlasB;

bool within(const Volume volume, ivec3 cell) {
    return all(greaterThanEqual(cell, ivec3(0))) && all(lessThan(cell, volume.cells));
}

#define LOOK(NAME, PAGES, RANGES, ATLAS)                                                          \
    float NAME(const Volume volume, vec3 at) {                                                    \
        ivec3 cell = ivec3(floor(at / CELL));                                                     \
        if (!within(volume, cell)) return volume.outside;                                         \
        uvec4 page = texelFetch(PAGES, cell, 0);                                                  \
        uint level = page.a & LEVEL;                                                              \
        if (level == NO_BRICK) return texelFetch(RANGES, cell, 0).r;                              \
        float stride = exp2(float(level));                                                        \
        float extent = min(volume.brick * stride, REGION);                                        \
        vec3 within = (at - floor(at / extent) * extent) / stride;                                \
        vec3 slot = vec3(page.xyz) * (volume.brick + 1.0);                                        \
        return textureLod(ATLAS, (slot + within + 0.5) * volume.texel, 0.0).r;                    \
    }
LOOK(lookA, pagesA, rangesA, atlasA)
LOOK(lookB, pagesB, rangesB, atlasB)

// The steps of a ray until it leaves a cell.
float stepsWithin(ivec3 cell, vec3 at, vec3 step) {
    vec3 ends = (vec3(cell) + vec3(greaterThan(step, vec3(0)))) * CELL;
    vec3 far = mix((ends - at) / step, vec3(1e9), lessThan(abs(step), vec3(1e-9)));
    return max(min(far.x, min(far.y, far.z)), 0.0);
}

// The steps of a ray until it leaves the cell that it is in, where nothing in it can be seen; else 0.
#define EMPTY(NAME, RANGES)                                                                       \
    float NAME(const Volume volume, vec3 at, vec3 step) {                                         \
        ivec3 cell = ivec3(floor(at / CELL));                                                     \
        if (volume.cells.x == 0) return 1e9;                                                      \
        if (within(volume, cell)) {                                                               \
            vec2 range = texelFetch(RANGES, cell, 0).rg;                                          \
            if (range.g > volume.visible.x && range.r < volume.visible.y) return 0.0;             \
        } else if (volume.outside > volume.visible.x && volume.outside < volume.visible.y) {      \
            return 0.0;                                                                           \
        }                                                                                         \
        return stepsWithin(cell, at, step);                                                       \
    }
EMPTY(emptyA, rangesA)
EMPTY(emptyB, rangesB)
