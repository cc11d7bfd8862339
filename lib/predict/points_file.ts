/**
 * Clicks from files: the point lists of 3D Slicer (`.fcsv`, `.mrk.json`) in the coordinates that they
 * name, and tables (`.csv`).
 *
 * @module
 */
import * as v from "valibot";
import { excerpt, InputError } from "../errors.ts";
import type { Place } from "./world.ts";

/** A click as a file has it. */
export interface FilePoint {
  /** Its place: voxels, or millimetres to the right, front and top (RAS). */
  readonly place: Place;
  /** True if the place is in millimetres; null where the file does not say. */
  readonly inMillimetres: boolean | null;
  /** 1 on an object, 0 beside it. */
  readonly label: 0 | 1;
  /** Name of the object that it belongs to; null if it is one by itself. */
  readonly object: string | null;
}

/** Layouts by the ends of file names. */
const LAYOUTS: Readonly<Record<string, (text: string, name: string) => FilePoint[]>> = {
  ".fcsv": readFcsv,
  ".mrk.json": readMarkups,
  ".csv": readTable,
};

/**
 * Reads the clicks of a file.
 *
 * - `.fcsv` and `.mrk.json`: each point of 3D Slicer is an object of its own, unless its label or its
 *   description begins with "background". LPS is turned to RAS.
 * - `.csv`: columns `x`, `y` and `z`, and, if wanted, `label` (1 or 0) and `object`, whose equal names make
 *   one object.
 *
 * @param name The file's name, which tells the layout.
 * @throws {InputError} if the layout is not known, a point has no place, or there is none.
 */
export function readPoints(text: string, name: string): FilePoint[] {
  const layout = Object.keys(LAYOUTS).find((end) => name.toLowerCase().endsWith(end));
  if (layout === undefined) {
    throw new InputError(`${name} holds no points: give a ${Object.keys(LAYOUTS).join(", ")} file`);
  }
  const points = LAYOUTS[layout](text, name);
  if (points.some(({ label }) => label === 1)) return points;
  throw new InputError(`${name} holds no point on an object: place one`);
}

/** A place to RAS; null if the coordinate system is not one that is known. */
function toRas(place: Place, system: string): Place | null {
  if (system === "RAS") return place;
  return system === "LPS" ? [-place[0], -place[1], place[2]] : null;
}

/** True if a point's texts say that it lies beside the object. */
const isBackground = (...texts: (string | undefined)[]) =>
  texts.some((text) => /^background/i.test(text ?? ""));

const markupsSchema = v.looseObject({
  markups: v.array(v.looseObject({
    type: v.string(),
    coordinateSystem: v.string(),
    coordinateUnits: v.optional(v.unknown()),
    controlPoints: v.array(v.looseObject({
      label: v.optional(v.string()),
      description: v.optional(v.string()),
      position: v.nullish(v.unknown()),
      positionStatus: v.optional(v.string()),
    })),
  })),
});

const finitePlace = v.strictTuple([
  v.pipe(v.number(), v.finite()),
  v.pipe(v.number(), v.finite()),
  v.pipe(v.number(), v.finite()),
]);

/** 3D Slicer's markups of version 5.0 and later. */
function readMarkups(text: string, name: string): FilePoint[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new InputError(`${name} is not JSON: save the points from 3D Slicer again`);
  }
  const result = v.safeParse(markupsSchema, value);
  if (!result.success) {
    const path = v.getDotPath(result.issues[0]) ?? "the whole";
    throw new InputError(
      `${name} is no file of 3D Slicer's markups (${excerpt(path)} is not valid)`,
    );
  }
  return result.output.markups.flatMap(
    ({ type, coordinateSystem, coordinateUnits, controlPoints }) => {
      if (type !== "Fiducial") {
        throw new InputError(
          `${name} holds a markup of type ${
            excerpt(type)
          }: save a point list, whose type is Fiducial`,
        );
      }
      if (
        ![undefined, "mm"].includes(coordinateUnits as string) && !Array.isArray(coordinateUnits)
      ) {
        throw new InputError(`${name} is not in millimetres: save it in the unit mm`);
      }
      // A point that was begun and not placed has no position.
      const placed = controlPoints.filter(({ positionStatus = "defined" }) =>
        positionStatus === "defined"
      );
      return placed.map(({ label, description, position }) => {
        const place = v.safeParse(finitePlace, position);
        if (!place.success) {
          throw new InputError(
            `${name}: the point ${excerpt(label ?? "")} has no position of three numbers`,
          );
        }
        return inRas(place.output, { system: coordinateSystem, name, label, description });
      });
    },
  );
}

/** A point of 3D Slicer in RAS. */
function inRas(
  place: Place,
  { system, name, label, description }: {
    system: string;
    name: string;
    label?: string;
    description?: string;
  },
): FilePoint {
  const ras = toRas(place, system.toUpperCase());
  if (!ras) {
    throw new InputError(
      `${name} is in the coordinate system ${excerpt(system)}: save it in LPS or RAS`,
    );
  }
  const isOn = !isBackground(label, description);
  return { place: ras, inMillimetres: true, label: isOn ? 1 : 0, object: null };
}

/** Coordinate systems of a .fcsv file by the numbers that older versions wrote. */
const SYSTEMS: Readonly<Record<string, string>> = { "0": "RAS", "1": "LPS", "2": "IJK" };

/** 3D Slicer's fiducials, a line a point below comments that name the columns and the coordinates. */
function readFcsv(text: string, name: string): FilePoint[] {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  const comment = (key: string) =>
    lines.map((line) => line.match(new RegExp(`^#\\s*${key}\\s*=\\s*(.*)$`))?.[1].trim())
      .find((value) => value !== undefined);
  const system = comment("CoordinateSystem");
  const columns = comment("columns")?.split(",").map((column) => column.trim());
  if (system === undefined || !columns) {
    throw new InputError(
      `${name} does not name its coordinate system and columns: save the points from 3D Slicer again`,
    );
  }
  return rowsOf(lines.filter((line) => !line.startsWith("#")), columns).map((row) =>
    inRas(placeOf(row, name), {
      system: SYSTEMS[system] ?? system,
      name,
      label: row.label,
      description: row.desc,
    })
  );
}

/** A table with a header. */
function readTable(text: string, name: string): FilePoint[] {
  const [header = "", ...lines] = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  const columns = header.split(",").map((column) => column.trim().toLowerCase());
  const missing = ["x", "y", "z"].find((column) => !columns.includes(column));
  if (missing) {
    throw new InputError(
      `${name} has no column ${missing}: begin it with x,y,z or x,y,z,label,object`,
    );
  }
  return rowsOf(lines, columns).map((row) => {
    const label = row.label || "1";
    if (label !== "0" && label !== "1") {
      throw new InputError(
        `${name} has the label ${excerpt(label)}: give 1 on the object or 0 beside it`,
      );
    }
    return {
      place: placeOf(row, name),
      inMillimetres: null,
      label: Number(label) as 0 | 1,
      object: row.object || null,
    };
  });
}

/** The cells of lines by the names of their columns. */
function rowsOf(
  lines: readonly string[],
  columns: readonly string[],
): Partial<Record<string, string>>[] {
  return lines.map((line) => {
    const cells = line.split(",").map((cell) => cell.trim().replace(/^"(.*)"$/, "$1"));
    return Object.fromEntries(columns.map((column, i) => [column, cells[i]]));
  });
}

/** The place in a row of a table. */
function placeOf(row: Partial<Record<string, string>>, name: string): Place {
  const place = [row.x, row.y, row.z].map((text) => text ? Number(text) : NaN);
  if (place.every(Number.isFinite)) return place as unknown as Place;
  throw new InputError(
    `${name} has a point without three numbers (${excerpt([row.x, row.y, row.z].join(", "))})`,
  );
}
