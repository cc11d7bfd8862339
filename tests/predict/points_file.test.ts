import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../lib/errors.ts";
import { readPoints } from "../../lib/predict/points_file.ts";

const point = (place: readonly number[], label = 1) => ({
  place,
  inMillimetres: true,
  label,
  object: null,
});

const fcsv = (system: string) =>
  `# Markups fiducial file version = 4.11
# CoordinateSystem = ${system}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
1,-10.5,20,3.25,0,0,0,1,1,1,0,F-1,,
2,4,5,6,0,0,0,1,1,1,0,F-2,background,vtkMRMLScalarVolumeNode1
`;

Deno.test("points of 3D Slicer are in RAS, from LPS or RAS, of either of its files", () => {
  const ras = [point([-10.5, 20, 3.25]), point([4, 5, 6], 0)];
  const lps = [point([10.5, -20, 3.25]), point([-4, -5, 6], 0)];
  assertEquals(readPoints(fcsv("LPS"), "p.fcsv") as unknown, lps);
  assertEquals(readPoints(fcsv("RAS"), "p.fcsv") as unknown, ras);
  assertEquals(readPoints(fcsv("0"), "p.fcsv") as unknown, ras);
  const markups = (coordinateSystem: string) =>
    JSON.stringify({
      "@schema": "https://raw.githubusercontent.com/slicer/slicer/markups-schema-v1.0.3.json#",
      markups: [{
        type: "Fiducial",
        coordinateSystem,
        coordinateUnits: "mm",
        controlPoints: [
          { id: "1", label: "F-1", description: "", position: [-10.5, 20, 3.25] },
          { id: "2", label: "Background 1", position: [4, 5, 6], positionStatus: "defined" },
          { id: "3", label: "F-3", position: [0, 0, 0], positionStatus: "undefined" },
        ],
      }],
    });
  assertEquals(readPoints(markups("LPS"), "P.mrk.json") as unknown, lps);
  assertEquals(readPoints(markups("RAS"), "P.mrk.json") as unknown, ras);
});

Deno.test("a table has its points in the units of the command line, and objects by name", () => {
  const points = readPoints("x,y,z,label,object\n1,2,3,1,a\r\n4,5,6,0,a\n-7,8.5,9,,\n", "p.csv");
  assertEquals(points as unknown, [
    { ...point([1, 2, 3]), inMillimetres: null, object: "a" },
    { ...point([4, 5, 6], 0), inMillimetres: null, object: "a" },
    { ...point([-7, 8.5, 9]), inMillimetres: null },
  ]);
});

Deno.test("a file of points names what is wrong with it", () => {
  const line = { type: "Line", coordinateSystem: "LPS", controlPoints: [] };
  const cases: [text: string, name: string, says: RegExp][] = [
    ["", "p.txt", /p\.txt holds no points: give a \.fcsv, \.mrk\.json, \.csv/],
    ["{", "p.mrk.json", /is not JSON/],
    ["{}", "p.mrk.json", /no file of 3D Slicer's markups \(markups/],
    [JSON.stringify({ markups: [line] }), "p.mrk.json", /type Line: save a point list/],
    [JSON.stringify({ markups: [] }), "p.mrk.json", /no point on an object/],
    [fcsv("2"), "p.fcsv", /coordinate system IJK/],
    ["1,2,3", "p.fcsv", /does not name its coordinate system/],
    ["a,b\n1,2", "p.csv", /no column x/],
    ["x,y,z\n1,2,\n", "p.csv", /without three numbers \(1, 2, \)/],
    ["x,y,z,label\n1,2,3,2\n", "p.csv", /label 2: give 1/],
    ["x,y,z,label\n1,2,3,0\n", "p.csv", /no point on an object/],
  ];
  for (const [text, name, says] of cases) {
    const error = assertThrows(() => readPoints(text, name), InputError);
    assertEquals(says.test(error.message), true, error.message);
  }
});
