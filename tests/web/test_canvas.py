"""The canvas in a browser, through nginx against two instances."""


def test_a_workflow_is_built_with_the_mouse_deployed_run_and_lights_up(cluster, play):
    play("canvas-mouse", cluster)


def test_a_workflow_is_built_by_keys_alone_deployed_run_and_lights_up(cluster, play):
    play("canvas-keys", cluster)


def test_two_people_see_each_other_write_in_one_text_and_bring_back_what_was_deleted(cluster, play):
    play("canvas-together", cluster)
