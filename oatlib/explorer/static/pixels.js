// @ts-check
// Images as bytes: row by row, channels last.

export const GREY = 128;

/**
 * @param {string} base64
 * @returns {Uint8Array} pixels
 */
export function decodeBytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/**
 * Pixels around grey.
 * @param {ArrayLike<number>} values in pixel units, 0 to 255
 * @param {number} factor
 */
export function aroundGrey(values, factor) {
  return Uint8ClampedArray.from(values, (value) => GREY + factor * value);
}

/**
 * Draw pixels. An image with one channel is drawn in grey.
 * @param {HTMLCanvasElement} canvas
 * @param {Uint8Array | Uint8ClampedArray} pixels
 * @param {[channels: number, height: number, width: number]} shape
 */
export function paint(canvas, pixels, [channels, height, width]) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++)
      image.data[4 * i + c] = pixels[i * channels + (channels === 1 ? 0 : c)];
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}
