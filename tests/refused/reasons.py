"""Why the hints of some refusals are not tried by the cases of settings and command lines."""

from __future__ import annotations

AS_CHECKED = "`check` says the same in its own words, which a case tries: tasks/training_check.py"
BUILT = "a child builds the model: tests/tasks/test_check_as_run.py"
CHANGED_FILE = "it is for files or records that were changed, which the reader restores"
ENGINE = "it needs an engine, or an installation: tests/engines"
FILLED_IN = "the reader fills in what it proposes"
NETWORK = "it needs a hub or a server: tests/hub, tests/evaluation"
NUMBERS = "it depends on the numbers that are computed"
OTHER_MODEL = "it is about two models or adapters that do not fit, of which the reader has others"
ROOM = "it needs a disk, memory or device that is full or small"
RUNNING = "it needs a run that is going on or was stopped: tests/launch, tests/runs"
TERMINAL = "it is said in the menu, or without a terminal: tests/menu"

PLACES = {
    AS_CHECKED: """
        core/data/layouts.py:_joined_layout core/tuners/full.py:freeze
        core/weights/quantized_bases.py:quantization_arguments
        templates/template.py:named_templates quantization/llama_cpp.py:refusal
        evaluation/tool_requests.py:_no_data""",
    BUILT: """
        core/tuners/ia3.py:adapter_config core/tuners/llamapro.py:_blocks
        core/tuners/targets.py:_check_heads core/tuners/targets.py:linear_layers
        core/tuners/targets.py:require_matches architectures/choice.py:require_class""",
    CHANGED_FILE: """
        launch/output_folder.py:settled_in tasks/train.py:require_same_inputs
        templates/limits.py:_refusal serving/parity.py:require_parity
        models/adapters.py:_without_weights models/vocabulary_rows.py:_no_row_of_token
        core/weights/merge.py:_require_rows core/weights/placement.py:_without_head
        tasks/training_vocabulary.py:require_no_trained_rows converters/dataset_info.py:_entries""",
    ENGINE: """
        engines/install.py:_create_venv engines/install.py:_finish engines/install.py:_lock
        engines/llama_cpp.py:package_folder engines/pip.py:_other_bytes
        engines/preconditions.py:_require_torch_index engines/preconditions.py:find_python
        engines/preconditions.py:refusal engines/preconditions.py:require_installable
        engines/state.py:engine_python engines/tool_runner.py:_result
        engines/vllm.py:vllm_folder tasks/deployment_engine.py:_no_loader
        devices/probe.py:_no_answer
        architectures/served_limits.py:uncached_error""",
    FILLED_IN: """
        cli/chat.py:newest converters/conversion.py:_without_rejected
        converters/foreign_file.py:_script converters/recognition.py:_unrecognised
        converters/conversion.py:_settle data/findings.py:_too_many
        data/renaming.py:require_known_names hub/content_checks.py:require_usable
        evaluation/own_rows/measure.py:_no_rows tasks/evaluated_rows.py:select_rows
        tasks/evaluate_rows_check.py:_require_something
        launch/extend.py:_fixed_settings models/adapters.py:base_of models/adapters.py:_no_adapter
        models/download_request.py:parse_request models/location.py:misspelled_error
        runs/creation.py:create tasks/load.py:require_training
        templates/classified.py:of core/training/parallel.py:for_one_device""",
    NETWORK: """
        evaluation/endpoint.py:_no_list evaluation/endpoint.py:failure
        evaluation/own_rows/asking.py:_no_answer evaluation/own_rows/judging.py:_no_verdict
        evaluation/run_jobs.py:_server_lost evaluation/benchmarks.py:_data_folder
        hub/download.py:_without_network hub/transfer_errors.py:final_error
        models/known_columns.py:_labelled models/known_columns.py:_problem_of
        tasks/chat.py:ask tasks/chat_servers.py:_key_of tasks/chat_servers.py:served_model
        tasks/download.py:_fetched models/local.py:_cached_storage""",
    NUMBERS: """
        core/training/infinite_loss.py:_infinite_norm core/training/infinite_loss.py:infinite_loss
        core/tuners/initialization.py:_masked_batches core/tuners/initialization.py:forward
        core/tuners/initialization.py:require_calibration core/tuners/llamapro.py:expand
        core/tuners/written_adapter.py:_overflow core/weights/mix_models.py:_compare_models
        core/weights/mix_models.py:_not_finite core/tuners/extract_messages.py:equal_models
        core/weights/cast.py:cast_weights quantization/calibration.py:load_pieces
        quantization/verification.py:_perplexity_failure""",
    OTHER_MODEL: """
        config/teacher.py:another_vocabulary models/text_models.py:_writes_no_text
        core/tuners/extract_messages.py:rows_without_place tasks/tuned_models.py:_is_adapter
        core/tuners/model_changes.py:_other_shape core/tuners/model_changes.py:_other_weights
        core/tuners/model_changes.py:_takes_no_factors
        models/extract_modules.py:require_places_of_rows models/mix_checks.py:require_sums
        tasks/mix_parts.py:_different_bases
        models/merge_checks.py:require_matching_layers models/merge_checks.py:quantization_of""",
    ROOM: """
        cli/surroundings.py:require_folders core/losses/reference_cache.py:_pair_too_large
        core/training/checkpoint.py:disk_full_error core/training/memory_recovery.py:together_error
        core/training/generated_answers.py:_answer_too_large hub/transfer.py:_no_room
        launch/extension.py:_no_room models/merge_resources.py:refusal
        quantization/preconditions.py:refusal quantization/preconditions.py:require_device_room
        serving/llama_cpp.py:_too_little_memory""",
    RUNNING: """
        display/demo.py:run_training launch/extend.py:_no_checkpoint launch/extend.py:_no_length
        launch/extend.py:_nothing_left launch/prepare.py:_changed_settings
        launch/prepare.py:require_idle launch/prepare.py:prepare_resume
        models/location.py:_without_result runs/folder.py:run_lock
        tasks/pipeline/run.py:_failure""",
    TERMINAL: "menu/editor.py:_same_task menu/entry.py:main",
}

REASONS = {place: reason for reason, places in PLACES.items() for place in places.split()}
"""By the place of the refusal."""
