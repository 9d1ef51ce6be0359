#!/bin/bash
# Trains the shipped decouplers and motion models; the recipe of emo_lightning/weights/MODEL_CARD.md.
#   GRID=DIR         speakers s1, s2, s4, s30 and s31, a folder each, as emo preprocess --source grid takes them
#   LIBRISPEECH=DIR  train-clean-100, DIR/SPEAKER/CHAPTER/*.flac
#   INIT=DIR         weights to start from (default: the shipped ones)
#   OUT=DIR          default runs/weights; the result is OUT/weights
# Finished steps are skipped, an interrupted training is continued: run it again.
set -euo pipefail
cd "$(dirname "$0")/.."
for name in GRID LIBRISPEECH; do
  [ -d "${!name:-}" ] || { echo "$name '${!name:-}' is not a folder; accepted: the corpus' folder" >&2; exit 2; }
done
INIT=$(realpath "${INIT:-emo_lightning/weights}") GRID=$(realpath "$GRID") LIBRISPEECH=$(realpath "$LIBRISPEECH")
bin=${BIN:-$PWD/.venv/bin} experiments=$PWD/experiments
export PYTHONPATH=$PWD OMP_NUM_THREADS=1
mkdir -p "${OUT:=runs/weights}"
cd "$OUT"

emo() { "$bin/emo" "$@"; }
# once FILE COMMAND...: runs the command unless it has made the file.
once() { local made=$1; shift; [ -e "$made" ] || "$@"; }
shards() { local out=$1; shift; once "$out/index.json" emo "$@" --out "$out"; }
augment() { shards "$1_v" shards augment-voices "$1" --copies "$2" --seed 1; }

people=(s1 s2 s4 s30 s31)
for speaker in "${people[@]}"; do
  shards "$speaker" preprocess --source grid --root "$GRID/$speaker" --split-by clip --resume
done
shards corpus corpus --clips 960 --no-video
for pair in corpus:1 s1:1 s2:6 s4:6 s31:6 s30:10; do augment "${pair%:*}" "${pair#*:}"; done
for set in corpus corpus_v "${people[@]}" "${people[@]/%/_v}"; do shards "${set}_t" shards add-whisper "$set"; done

grid=s1_t,s1_v_t
for speaker in s2 s4 s30 s31; do grid+=,${speaker}_t,${speaker}_v_t,${speaker}_v_t; done
common=(size=cpu seed=0 export=last wandb.mode=disabled loss.correlation=2)
one=("${common[@]}" model.width=192 model.content=128 loss.distil=15 loss.adversary=0.3 loss.lips=5)
two=("${common[@]}" recipe.levels=annotated recipe.content_noise=0.8 loss.closure=8
  loss.pose=0 loss.kl=0 loss.spectrum=0 loss.beat=0 loss.posture=0 loss.bearing=0)
# stage EXPERIMENT OUT KEY=VALUE...
stage() { once "$2"/*.safetensors emo train "$experiments/$1.yaml" out="$2" "${@:3}"; }
# assemble NAME INIT CLIPS RESULT: gains by the people trained on, then PoseNet on the corpus.
assemble() {
  mkdir -p "$1/joined"
  cp "$1/stage1/decoupler.safetensors" "$1/stage2/heads.safetensors" "$1/joined/"
  once "$1/gain/decoupler.safetensors" "$bin/python" -m research.gain "${people[@]/#/--data=}" \
    --clips "$3" --checkpoint-dir "$1/joined" --write "$1/gain"
  once "$4/heads.safetensors" "$bin/python" -m research.pose --data corpus_t \
    --checkpoint-dir "$1/gain" --init "$2" --steps 400 --write "$4"
}

stage stage1_whisper whisper/stage1 data=corpus_t,corpus_v_t,$grid "${one[@]}" model.lr=5e-4 \
  trainer.max_steps=600 init="$INIT/whisper/decoupler.safetensors"
stage stage2 whisper/stage2 data=corpus_t,corpus_v_t,$grid "${two[@]}" trainer.max_steps=1600 \
  decoupler=whisper/stage1/decoupler.safetensors
assemble whisper "$INIT/whisper" 24 weights/whisper

if [ ! -e libri/index.json ]; then
  mkdir -p utterances
  echo path,speaker,split > utterances/manifest.csv
  for speaker in "$LIBRISPEECH"/*/; do
    first=$(find "$speaker" -name '*.flac' | sort | sed -n 1p)
    [ -n "$first" ] || continue
    cp "$first" utterances/
    echo "$(basename "$first"),libri_$(basename "$speaker"),train" >> utterances/manifest.csv
  done
fi
shards libri preprocess --source folder --root utterances --resume
shards voices shards pseudo-label libri --checkpoint-dir whisper/gain --checkpoint-dir "$INIT/whisper"
shards voices_t shards add-whisper voices

stage stage1 mel/stage1 data=corpus_t,corpus_v_t,$grid,voices_t,voices_t "${one[@]}" model.lr=7e-4 \
  trainer.max_steps=900 init="$INIT/decoupler.safetensors"
stage stage2 mel/stage2 data=corpus_t,corpus_v_t,$grid,voices_t "${two[@]}" trainer.max_steps=800 \
  init="$INIT/heads.safetensors" decoupler=mel/stage1/decoupler.safetensors
assemble mel "$INIT" 12 weights
echo "wrote $PWD/weights"
