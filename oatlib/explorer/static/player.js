// @ts-check
// Moves λ slowly from one end of its dial to the other, so that a user can watch.

const DURATION = 10000; // milliseconds for the whole dial
const FRAME = 40; // milliseconds between two moves
const CALM_FRAME = 500; // where the system asks for less motion: few steps instead of a motion

export class Player {
  /**
   * @param {(position: number) => void} show moves the dial to a position, 0 to 100
   * @param {() => void} end is called when the last position has been shown
   */
  constructor(show, end) {
    this.show = show;
    this.end = end;
    this.position = 0;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.timer = undefined;
  }

  get playing() {
    return this.timer !== undefined;
  }

  /** @param {number} position where to start. From the right end it starts again at the left. */
  start(position) {
    this.stop();
    this.position = position < 100 ? position : 0;
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const frame = isCalm ? CALM_FRAME : FRAME;
    let last = performance.now();
    this.timer = setInterval(() => {
      const now = performance.now();
      // A page in the background gets few calls. It goes on where it was, without a jump.
      this.advance(Math.min(now - last, 2 * frame));
      last = now;
    }, frame);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  /** @param {number} milliseconds */
  advance(milliseconds) {
    this.position = Math.min(100, this.position + (100 * milliseconds) / DURATION);
    this.show(this.position);
    if (this.position < 100) return;
    this.stop();
    this.end();
  }
}
