
take_images
skopeo_path=`command -v skopeo`
if [ -z "$source_image" ]; then
  begin_stage build 'Building the image' "$state_of_build"
  build_image
  end_stage 0 succeeded
  begin_stage push 'Pushing the image' 95
  push_image
elif [ -n "$skopeo_path" ]; then
  begin_stage push 'Copying the image' 95
  copy_with_skopeo
else
  begin_stage push 'Copying the image' 95
  pull_source_image
  push_image
fi
report_image
