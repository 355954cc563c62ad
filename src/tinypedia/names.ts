/**
 * The words that Tinypedia's names are made of: every name is two words, and no word has a second use anywhere in the world.
 *
 * A word is one token of Tinypedia's tokenizer, and words of a pool share endings so that few merges make them. The last seventh of each
 * pool is its tail: PopQA-mini asks for entities whose name holds a tail word, and such names are rare in the worlds of pretraining.
 */

export type EntityType = 'person' | 'town' | 'nation' | 'stream' | 'book' | 'film' | 'firm';

const words = (text: string): readonly string[] => text.trim().split(/\s+/);

/** Women's and men's names in turn, so that a mother can be a woman and the tail holds both. */
const FIRST = words(`
  Ada Adam Eva Evan Ida Ivan Mia Milan Lea Leo Nora Theo Dora Otto Cora Hugo Flora Bruno Lena Arno
  Elena Marco Irena Enzo Nina Karl Tina Lars Rina Hans Anna Jan Hanna Dan Joanna Stan Ella Alan Bella Ian
  Stella Aron Mara Simon Sara Leon Clara Anton Tara Milton Lina Martin Alma Justin Emma Robin Gemma Colin Rosa Erik
  Lisa Henrik Elsa Felix Vera Max Petra Oscar Greta Victor`);

const LAST = words(`
  Stone Lind Lund Berg Holm Dahl Hall Bell Cole Hale Reed Grant Brand Strand Hunt Kent Bent Dent Trent Brent
  Clark Park Stark Parker Barker Baker Walker Fisher Archer Butler Carter Porter Potter Cutter Turner Tanner Miller Keller Heller Weaver
  Cooper Hooper Harper Draper Mason Nelson Wilson Olson Larson Carson Dawson Lawson Gibson Hudson Jensen Hansen Olsen Nilsen Larsen Moore
  Blake Drake Rowe Lowe Crane Lane Payne Quinn Flynn Lynn Finch Lynch Nash Cash Rush Ross Moss Frost Webb Todd`);

const TOWN_STEM = words(`
  Elm Oak Ash Fern Thorn Holt Corn Barn Wren Swan Crow Hawk Lark Rook Fox Wolf Stag Long King Queen
  Abbot Monk Salt Sand Clay Chalk Flint Lime North South East West Upper Lower Old New High Low Mid Fair`);

const TOWN_SUFFIX = words('Ford Haven Bridge Field Gate Hill Cross Wood Port Bay Vale Cove Point Green Heath Moor');

const NATION_STEM = words(`
  Arvia Belvia Corvia Dorvia Norvia Selvia Marland Norland Sorland Verland Torland Berland
  Kestia Lestia Vestia Mestia Restia Nestia Tolmar Belmar Delmar Valmar Selmar Kelmar`);

const NATION_SUFFIX = words('Republic Union Isles Realm');

const STREAM_STEM = words(`
  Laven Naven Saven Taven Daven Barle Carle Darle Garle Marle Misel Risel Tisel Nisel Visel
  Norla Vorla Torla Morla Sorla Delwy Kelwy Melwy Selwy Telwy Bosk Tosk Vosk Rosk Dosk`);

const STREAM_SUFFIX = words('Water Run Beck Burn');

const ADJECTIVE = words(`
  Amber Golden Silver Scarlet Silent Hidden Broken Frozen Wooden Painted Twisted Distant Ancient Gentle Humble Noble Simple Purple
  Little Bitter Winter Summer Tender Slender Bright Lonely Lovely Lively Empty Dusty Rusty Misty Stormy Sunny Rainy Windy`);

const NOUN = words(`
  Falcon Lantern Garden Window Shadow Meadow Arrow Sparrow Mirror Tower Flower Feather Letter Harbor Candle Needle Bottle Castle
  Turtle Beetle Island Button Cotton Dragon Wagon Salmon Lemon Violin Dolphin Cabin Pillar Cellar Forest Ocean Mountain Fountain`);

const FIRM_STEM = words(`
  Red Blue Gray Black White Pink Delta Gamma Sigma Omega Alpha Kappa Lambda Atlas Apex Vertex Zenith Summit
  Orbit Comet Rocket Planet Magnet Nova Terra Aqua Luna Solar Polar Lunar Stellar Prime Granite Cobalt Nickel Copper`);

const FIRM_KIND = words('Mill Press Works Labs Foods Motors');

/** First and second words of the names of each type; books and films share theirs. */
export const NAME_POOLS: Readonly<Record<EntityType, readonly [readonly string[], readonly string[]]>> = {
  person: [FIRST, LAST],
  town: [TOWN_STEM, TOWN_SUFFIX],
  nation: [NATION_STEM, NATION_SUFFIX],
  stream: [STREAM_STEM, STREAM_SUFFIX],
  book: [ADJECTIVE, NOUN],
  film: [ADJECTIVE, NOUN],
  firm: [FIRM_STEM, FIRM_KIND],
};

/** Every word of a name, each once. */
export const NAME_WORDS: readonly string[] = [...new Set(Object.values(NAME_POOLS).flatMap(([first, second]) => [...first, ...second]))];

/** Births, and nothing else, have a year. One token each. */
export const YEARS: readonly string[] = Array.from({ length: 60 }, (_, i) => String(1900 + i));

const WOMEN: ReadonlySet<string> = new Set(FIRST.filter((_, i) => i % 2 === 0));
const TAIL: ReadonlySet<string> = new Set(
  Object.values(NAME_POOLS).flatMap((pools) => pools.flatMap((pool) => pool.slice(pool.length - Math.floor(pool.length / 7)))),
);

/** Whether a person's first name is a woman's. */
export const isWoman = (name: string): boolean => WOMEN.has(name.split(' ')[0]);

/** Whether a name holds a word from the last seventh of its pool. */
export const isTailName = (name: string): boolean => name.split(' ').some((word) => TAIL.has(word));
