// SPDX-License-Identifier: Apache-2.0
// Boxes, transforms and projection: rows of the packed tables in, corners and pixels out.
"use strict";

const NEAR_M = 0.3;
// Corners 0..3 are the bottom face, counter-clockwise from front left; 4..7 lie above them.
const UNIT_CORNERS = [
  [1, 1, -1], [-1, 1, -1], [-1, -1, -1], [1, -1, -1],
  [1, 1, 1], [-1, 1, 1], [-1, -1, 1], [1, -1, 1],
];
const EDGES = [
  [0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7],
];
const FRONT = [0, 3, 7, 4];

function bytesFromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

// Array of objects, a property a column.
function unpackTable(text, columns) {
  const values = new Float32Array(bytesFromBase64(text).buffer);
  const rows = [];
  for (let start = 0; start < values.length; start += columns.length) {
    const row = { index: rows.length };
    columns.forEach((name, offset) => { row[name] = values[start + offset]; });
    rows.push(row);
  }
  return rows;
}

// matrix: 12 numbers, a 3x4 by rows.
function transform(matrix, [x, y, z]) {
  return [0, 4, 8].map((i) => matrix[i] * x + matrix[i + 1] * y + matrix[i + 2] * z + matrix[i + 3]);
}

// Eight corners of a box in the frame its row is in.
function boxCorners(box) {
  const { qw: w, qx: x, qy: y, qz: z } = box;
  const localFromBox = [
    1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y), box.x,
    2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x), box.y,
    2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y), box.z,
  ];
  const half = [box.length / 2, box.width / 2, box.height / 2];
  return UNIT_CORNERS.map((unit) => transform(localFromBox, unit.map((u, i) => u * half[i])));
}

// Homogeneous pixels (u d, v d, d) of points.
function homogeneousPixels(imageFromLocal, points) {
  return points.map((point) => transform(imageFromLocal, point));
}

function pixelOf([u, v, depth]) {
  return [u / depth, v / depth];
}

// The part of a segment of homogeneous pixels that lies before the camera, as two pixels, or null.
function visibleSegment(first, second) {
  if (first[2] < NEAR_M && second[2] < NEAR_M) return null;
  const cross = (behind, before) => {
    const share = (NEAR_M - behind[2]) / (before[2] - behind[2]);
    return behind.map((value, i) => value + share * (before[i] - value));
  };
  const start = first[2] < NEAR_M ? cross(first, second) : first;
  const end = second[2] < NEAR_M ? cross(second, first) : second;
  return [pixelOf(start), pixelOf(end)];
}
