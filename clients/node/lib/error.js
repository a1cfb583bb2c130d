'use strict';

// What went wrong: `code` for programs, `message` for people, `hint` for what to do about it.
class MusherError extends Error {
  constructor(code, message, hint) {
    super(message);
    this.name = 'MusherError';
    this.code = code;
    if (hint) this.hint = hint;
  }
}

module.exports = { MusherError };
