'use strict';
exports.face = {};
