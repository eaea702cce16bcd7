import assert from 'node:assert/strict';
import { test } from 'node:test';
import { aacConfiguration, audioConfiguration, audioFrame, header, metadata, opusHead, opusRecord, videoConfiguration, videoFrame } from '../page/muxer.js';

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const BODY = Uint8Array.from([1, 2, 3]);

test('the header says which kinds there are', () => {
    assert.equal(hex(header(true, true)), '464c5601050000000900000000');
    assert.equal(header(false, true)[4], 1);
    assert.equal(header(true, false)[4], 4);
});

test('tags have their size, and their time in four bytes of which the highest is the last', () => {
    assert.equal(hex(videoConfiguration(0, BODY)), '0900000800000000000000' + '1700000000' + '010203' + '00000013');
    assert.equal(hex(videoFrame(0x12345678, true, BODY)), '0900000834567812000000' + '1701000000' + '010203' + '00000013');
    assert.equal(hex(videoFrame(33, false, BODY)).slice(22, 32), '2701000000');
});

test('sound is AAC as ever, or Opus as Enhanced RTMP has it', () => {
    assert.equal(hex(audioConfiguration(0, 'aac', BODY)).slice(22, 26), 'af00');
    assert.equal(hex(audioFrame(0, 'aac', BODY)).slice(22, 26), 'af01');
    assert.equal(hex(audioConfiguration(0, 'opus', BODY)).slice(22, 32), '904f707573');
    assert.equal(hex(audioFrame(0, 'opus', BODY)).slice(22, 32), '914f707573');
});

test('configurations are made where an encoder gives none', () => {
    assert.equal(hex(aacConfiguration(2, 44_100)), '1210');
    assert.equal(hex(aacConfiguration(1, 48_000)), '1188');
    assert.equal(aacConfiguration(1, 47_999), null);
    assert.equal(hex(opusRecord(Uint8Array.from(Buffer.from('4f707573486561640102380144ac0000000000', 'hex')))), hex(opusHead(2)));
    assert.equal(hex(opusHead(2)), '4f7075734865616401023801' + '80bb0000' + '000000');
});

test('metadata is an array of AMF0', () => {
    const bytes = metadata({ width: 1280, encoder: 'x', height: undefined });
    assert.equal(hex(bytes.subarray(11, bytes.length - 4)), '02000a6f6e4d65746144617461' + '0800000002'
        + '00057769647468' + '004094000000000000' + '0007656e636f646572' + '02000178' + '000009');
});
