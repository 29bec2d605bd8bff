"""The canvas in a browser, against a real instance."""


def test_a_workflow_is_built_with_the_mouse_deployed_run_and_lights_up(instance, play):
    play("canvas-mouse", instance)


def test_a_workflow_is_built_by_keys_alone_deployed_run_and_lights_up(instance, play):
    play("canvas-keys", instance)


def test_two_people_see_each_other_write_in_one_text_and_bring_back_what_was_deleted(instance, play):
    play("canvas-together", instance)
